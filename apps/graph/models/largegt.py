"""LargeGT (Dwivedi et al. 2023, "Graph Transformers for Large Graphs", arXiv 2312.11109): each node attends to a sample
of its two-hop neighbourhood and to a codebook of the whole graph, at a cost that does not depend on the graph.

    tokens   x, Px, P^2 x of the node and of K - 1 sampled neighbours: 3K rows, the node's first
    local    LN, attention of all tokens (each head as wide as the model), + W x; LN; then t + sum_j a_j n_j with t the
             node's token, n_j the others, a = softmax_j(w . n_j)
    global   attention of [W x, node2vec] to a codebook of the same (`core.mixers.codebook_attention`)
    y        W relu(norm(W relu(norm(W [local, global]))))

Shapes: tokens (B, 3K, F), position (B, g) -> (B, classes).  One layer, 3K = 150 to 300, h = 128 to 512, M = 4096.

Exact savings: equal tokens are told by `counts` instead of repeated (softmax with log counts), and nodes that several
sequences share are embedded once (`index`).  In the readout, w . t of [w_t, w_n] . [t, n_j] is the same for all j and
cancels; it is not computed.

Decided differently from the release, whose behaviour `official_nodes` and `official` bring back: the codebook starts
from data and a code counts as many rows as it gets; there, codes start at random with size 0, and count the nodes of
the whole graph that were last assigned to them, at random where no training batch held the node.  The readout of nodes
alone takes the node tokens; there it is one token off.  The release's unused parameters are not here.
"""

__all__ = ["GlobalAttention", "LargeGT", "LargeGTLayer", "LocalAttention"]

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.graph.data.items import Batch
from apps.graph.models.classifier import NodeClassifier
from core.errors import UserError
from core.mixers.codebook_attention import CodebookAttention
from core.ops.attend import attend

HOPS = 3


class _Encoder(nn.Module):
    def __init__(self, dim: int, hidden: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout, self.attention_dropout = heads, dropout, attention_dropout
        self.norm = nn.LayerNorm(dim)
        self.q, self.k, self.v = (nn.Linear(dim, heads * hidden) for _ in range(3))
        self.out = nn.Linear(heads * hidden, heads * hidden)
        self.residual = nn.Linear(dim, heads * hidden)

    def forward(self, x: Tensor, counts: Tensor | None) -> Tensor:
        y = self.norm(x)
        q, k, v = (layer(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        bias, mask = _weights(counts, x)
        y = attend(q, k, v, bias=bias, mask=mask, dropout=self.attention_dropout if self.training else 0.0)
        y = self.out(y.transpose(1, 2).flatten(2))
        y = self.residual(x) + F.dropout(y, self.dropout, self.training)
        return F.dropout(y, self.dropout, self.training)


def _weights(counts: Tensor | None, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """(B, 1, 1, T) addend of the scores and mask of tokens that stand for so many."""
    if counts is None:
        return None, None
    counts = counts[:, None, None]
    return counts.clamp(min=1).to(x.dtype).log(), counts > 0


class LocalAttention(nn.Module):
    """A sequence of tokens to one row.

    Args:
        dim: width of the tokens.
        hidden: width of a head.
        heads: number of them; the result is heads * hidden wide.
        depth: encoder layers; more than one need heads = 1.
        dropout: twice in each layer.
        attention_dropout: of attention weights.
        nodes_only: read the neighbours' own tokens, without those of their hops.
        official: with nodes_only, tokens 4, 7, 10, ... as in the release instead of 3, 6, 9, ...
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        heads: int,
        depth: int = 1,
        *,
        dropout: float = 0.3,
        attention_dropout: float = 0.0,
        nodes_only: bool = False,
        official: bool = False,
    ) -> None:
        super().__init__()
        if depth > 1 and heads > 1:
            raise ValueError(f"LocalAttention: depth {depth} with {heads} heads; a layer is heads times wider, take 1")
        self.read_from = (slice(HOPS + 1 if official else HOPS, None, HOPS)) if nodes_only else slice(1, None)
        self.enter = nn.Linear(dim, hidden)
        self.layers = nn.ModuleList(_Encoder(hidden, hidden, heads, dropout, attention_dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(heads * hidden)
        self.read = nn.Linear(heads * hidden, 1, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02 * depth**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor, counts: Tensor | None = None) -> Tensor:
        """(B, T, dim) -> (B, heads * hidden).

        Args:
            tokens: the node's own first.
            counts: (B, T) how many equal tokens each stands for; 0 is padding.
        """
        x = self.enter(tokens)
        for layer in self.layers:
            x = layer(x, counts)
        x = self.norm(x)
        others = x[:, self.read_from]
        scores = self.read(others)[..., 0]
        if counts is not None:
            there = counts[:, self.read_from]
            scores = (scores + there.clamp(min=1).to(x.dtype).log()).masked_fill(there == 0, -torch.inf)
            scores = scores.masked_fill(~(there > 0).any(1, keepdim=True), 0)
            others = others.masked_fill((there == 0)[..., None], 0)
        return x[:, 0] + torch.einsum("bt,btc->bc", scores.softmax(-1), others)


class GlobalAttention(nn.Module):
    """Nodes to a codebook of nodes.

    Args:
        dim: width of the nodes.
        hidden: width of a head.
        heads: number of them.
        codes: number of codes.
        position_dim: width g of the positional encoding; codes are 2g wide.
        attention_dropout: of attention weights.
        official_nodes: nodes of the whole graph, for the release's codebook and its counts.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        heads: int,
        codes: int,
        position_dim: int,
        *,
        attention_dropout: float = 0.0,
        official_nodes: int | None = None,
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(dim, position_dim)
        self.attention = CodebookAttention(
            2 * position_dim,
            heads,
            codes,
            head_dim=hidden,
            value_dim=position_dim,
            dropout=attention_dropout,
            official=official_nodes is not None,
        )
        self.assigned: Tensor | None
        start = None if official_nodes is None else torch.randint(0, codes, (official_nodes,))
        self.register_buffer("assigned", start)

    def forward(self, x: Tensor, position: Tensor, nodes: Tensor | None = None) -> Tensor:
        """(B, dim), (B, g) -> (B, heads * hidden).

        Args:
            x: the nodes.
            position: their encoding.
            nodes: (B,) their ids; for the release's counts.
        """
        q = torch.cat([self.enter(x), position], 1)
        if self.assigned is None:
            return self.attention(q[None])[0]
        codebook = self.attention.codebook
        y = self.attention.attend(q, torch.bincount(self.assigned, minlength=len(codebook.size)))
        if self.training:
            index = codebook(q)
            if nodes is None:
                raise ValueError("LargeGT: the release's counts need the ids of the nodes in training; give `nodes`")
            self.assigned[nodes] = index
        return y


class LargeGTLayer(nn.Module):
    """The two attentions side by side, of embedded tokens.

    Args:
        local: to the neighbourhood, or None.
        far: to the codebook, or None.
    """

    def __init__(self, local: LocalAttention | None, far: GlobalAttention | None) -> None:
        super().__init__()
        if local is None and far is None:
            raise ValueError("LargeGT: neither local attention nor codes; give it one of the two")
        self.local, self.far = local, far

    def forward(
        self,
        tokens: Tensor | None,
        x: Tensor,
        position: Tensor | None,
        counts: Tensor | None = None,
        nodes: Tensor | None = None,
    ) -> Tensor:
        """(B, T, dim), (B, dim), (B, g) -> (B, width), the local half first."""
        parts = []
        if self.local is not None:
            assert tokens is not None
            parts.append(self.local(tokens, counts))
        if self.far is not None:
            if position is None:
                raise ValueError("LargeGT: the codebook needs a positional encoding; give `position`")
            parts.append(self.far(x, position, nodes))
        return torch.cat(parts, 1)


class LargeGT(NodeClassifier):
    """The whole network; local, global (`local` False) or both.

    Args:
        channels: features of a node.
        classes: numbers that are predicted.
        hidden: width h.
        heads: each h wide.
        local: whether there is attention to the neighbourhood.
        codes: of the codebook; 0 for none.
        position_dim: width of the positional encoding.
        norm: made from the width: nn.BatchNorm1d, nn.LayerNorm; None for none.
        dropout: of the linear layers.
        local_dropout: of the local attention, 0.3 as published whatever the other is.
        attention_dropout: of attention weights to the codebook.
        official_nodes: nodes of the whole graph, for the release's codebook and its counts.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        hidden: int = 256,
        heads: int = 2,
        *,
        local: bool = True,
        codes: int = 4096,
        position_dim: int = 64,
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm1d,
        dropout: float = 0.5,
        local_dropout: float = 0.3,
        attention_dropout: float = 0.0,
        official_nodes: int | None = None,
    ) -> None:
        super().__init__()

        def normed(width: int) -> nn.Module:
            return nn.Identity() if norm is None else norm(width)

        near = LocalAttention(hidden, hidden, heads, dropout=local_dropout) if local else None
        far = None
        if codes:
            far = GlobalAttention(
                hidden,
                hidden,
                heads,
                codes,
                position_dim,
                attention_dropout=attention_dropout,
                official_nodes=official_nodes,
            )
        self.layer = LargeGTLayer(near, far)
        wide = heads * hidden
        self.enter = nn.Sequential(
            nn.Linear(channels, hidden), normed(hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, hidden)
        )
        self.enter_tokens = None
        if local:
            self.enter_tokens = nn.Sequential(
                nn.Linear(channels, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, hidden)
            )
        self.feed = nn.Sequential(
            nn.Linear(wide * (local + bool(codes)), wide),
            normed(wide),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(wide, hidden),
            normed(hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.out = nn.Linear(hidden, classes)

    def forward(
        self,
        tokens: Tensor,
        position: Tensor | None = None,
        *,
        counts: Tensor | None = None,
        index: Tensor | None = None,
        x: Tensor | None = None,
        nodes: Tensor | None = None,
    ) -> Tensor:
        """The prediction of each node.

        Args:
            tokens: (B, 3K, channels); with `index`, (U, 3, channels) of the U nodes that occur.
            position: (B, g) of the nodes, where there is a codebook.
            counts: (B, 3K) how many equal tokens each stands for; 0 is padding.
            index: (B, K) rows of `tokens`, the node itself first.
            x: (B, channels) of the nodes; by default their first token.
            nodes: (B,) their ids, for the release's counts in training.
        """
        if x is None:
            x = tokens[:, 0] if index is None else tokens[index[:, 0], 0]
        embedded = None
        if self.enter_tokens is not None:
            embedded = self.enter_tokens(tokens)
            if index is not None:
                embedded = embedded[index].flatten(1, 2)
        return self.out(self.feed(self.layer(embedded, self.enter(x), position, counts, nodes)))

    def classify(self, batch: Batch) -> Tensor:
        if batch.tokens is None:
            raise UserError(
                "LargeGT: needs sampled neighbours; give --data.loading apps.graph.data.sampled_tokens.SampledTokens."
            )
        tokens = batch.tokens
        counts, own = tokens.counts.repeat_interleave(HOPS, 1), batch.nodes[batch.targets]
        position = None if batch.encoding is None else batch.encoding[batch.targets]
        return self(tokens.features, position, counts=counts, index=tokens.index, nodes=own)
