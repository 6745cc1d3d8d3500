"""GSM++ (Behrouz et al., ICML 2025, "Best of Both Worlds", arXiv 2411.15671): sequences from a hierarchy of clusters, a
local encoder, two Mamba layers and a Transformer block over the sequences.

    h = local encoder of the whole graph;  token of a cluster = mean of its members' h + vector of its level
    depth first    the path root -> node of every node is its sequence; the node's output stands at its end
    breadth first  the clusters of each level in the order of the hierarchy, a sequence a level; a node's output is the
                   mean over levels of what stands at its cluster
    hops           P^4 h, ..., P h, h of every node is its sequence
    y = W [h, sequence encoding]; with several tokenisations a router chooses two for each node

No code was published.  Published: the three stages, clusters by Boruvka-style joining (`apps.graph.hac`), the order of
Mamba and Transformer, positions as distances in the tree, top 2 of sigmoid(x W_r).  Not published, and chosen here:
- the encoder is layers of GCN with residual and BatchNorm on the whole graph instead of on each cluster's subgraph;
- similarity for the tree is the cosine of the features given to `ClusterTree`, which is built once;
- depth first runs Mamba on the tree (`TreeMamba`), exact with 1.3 N tokens; its Transformer block has one query a node,
  its own token, on its own path, and distances are vectors of the level;
- breadth first cuts a level into windows of 128, the second Mamba runs backwards, and the attention has a bias a head
  by how many levels up two clusters meet;
- the two chosen encodings are weighted by their scores (normalised over the two) and concatenated in the order of the
  tokenisers, the others being 0: the weights give the router its gradient.  Its balance term (`aux`, to be added to the
  loss by `auxiliary_loss`) is the squared coefficient of variation of the mean scores.
The local encoder alone is a strong baseline: compare with `TunedGNN` of the same layers.
"""

__all__ = ["GSM", "BreadthFirst", "DepthFirst", "Hops"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.graph.cluster_tree import ClusterTree
from apps.graph.data.items import Batch, SparseRows
from apps.graph.models.classifier import NodeClassifier
from apps.graph.models.convolutions import GCNConv
from apps.graph.models.diffusion import spread, symmetric
from apps.graph.models.relation import layers_of, linear
from apps.graph.models.tree_mamba import TreeMamba
from apps.graph.models.tuned_gnn import GNNLayer
from core.errors import UserError
from core.mixers.attention import Attention
from core.mixers.mamba import Mamba
from core.ops.attend import attend
from core.ops.csr import Csr

# A tree halves at least, so that this is enough for a billion nodes.
LEVELS = 32


class _Feed(nn.Module):
    """x + W relu(W LN(x)), then LN: what ends each tokenisation."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.last, self.dropout = nn.LayerNorm(dim), nn.LayerNorm(dim), dropout
        self.enter, self.leave = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        y = self.leave(F.dropout(F.relu(self.enter(self.norm(x))), self.dropout, self.training))
        return self.last(x + F.dropout(y, self.dropout, self.training))


class DepthFirst(nn.Module):
    """The path from the root to each node.

    Args:
        dim: width.
        heads: of the Transformer block.
        state: of Mamba.
        dropout: in the blocks.
    """

    def __init__(self, dim: int, heads: int = 4, state: int = 8, dropout: float = 0.2) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.level = nn.Embedding(LEVELS, dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.mambas = nn.ModuleList(TreeMamba(dim, state, expand=1) for _ in range(2))
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.feed = _Feed(dim, dropout)
        nn.init.normal_(self.level.weight, std=0.02)

    def forward(self, h: Tensor, tree: ClusterTree, graph: Csr) -> Tensor:
        """(N, dim) -> (N, dim)."""
        levels = [x + self.level.weight[tree.depth - 1 - i] for i, x in enumerate(tree.means(h))]
        for norm, mamba in zip(self.norms, self.mambas, strict=False):
            moved = mamba.walk([norm(x) for x in levels], tree.parents)  # type: ignore[operator]
            levels = [x + F.dropout(y, self.dropout, self.training) for x, y in zip(levels, moved, strict=True)]
        rows = [self.norms[2](x) for x in levels]
        q = self.q(rows[-1]).unflatten(-1, (self.heads, -1))
        # Keys and values once a cluster; every node then reads those above it.
        k, v = (
            torch.stack([layer(x).index_select(0, own) for x, own in zip(rows, tree.labels, strict=True)], 1)
            for layer in (self.k, self.v)
        )
        k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (k, v))
        y = self.out(attend(q[:, :, None], k, v).flatten(1))
        return self.feed(levels[-1] + F.dropout(y, self.dropout, self.training))


class BreadthFirst(nn.Module):
    """The clusters of each level side by side.

    Args:
        dim: width.
        heads: of the Transformer block.
        state: of Mamba.
        dropout: in the blocks.
        window: clusters that see each other.
    """

    def __init__(self, dim: int, heads: int = 4, state: int = 8, dropout: float = 0.2, window: int = 128) -> None:
        super().__init__()
        self.heads, self.dropout, self.window = heads, dropout, window
        self.level, self.meet = nn.Embedding(LEVELS, dim), nn.Embedding(LEVELS, heads)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.mambas = nn.ModuleList(Mamba(dim, state, expand=1) for _ in range(2))
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.feed = _Feed(dim, dropout)
        nn.init.normal_(self.level.weight, std=0.02)
        nn.init.zeros_(self.meet.weight)

    def forward(self, h: Tensor, tree: ClusterTree, graph: Csr) -> Tensor:
        """(N, dim) -> (N, dim)."""
        total = torch.zeros_like(h)
        parts = zip(tree.means(h), tree.windows(self.window), tree.labels, strict=True)
        for i, (x, (places, mask, meet), own) in enumerate(parts):
            rows = (x + self.level.weight[tree.depth - 1 - i])[places]
            y = self._level(rows, mask, meet)
            # Each cluster stands in one place: the padding of the last window is cut off before.
            back = torch.empty_like(x).index_copy(0, places[mask], y[mask])
            total = total + back.index_select(0, own)
        return total / tree.depth

    def _level(self, x: Tensor, mask: Tensor, meet: Tensor) -> Tensor:
        first, second = self.mambas
        x = x + F.dropout(first(self.norms[0](x), mask=mask), self.dropout, self.training)
        back = second(self.norms[1](x).flip(1), mask=mask.flip(1)).flip(1)
        x = x + F.dropout(back, self.dropout, self.training)
        y = self.norms[2](x)
        q, k, v = (layer(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        bias = self.meet.weight[meet].permute(0, 3, 1, 2)
        y = attend(q, k, v, bias=bias, mask=mask[:, None, None])
        return self.feed(x + F.dropout(self.out(y.transpose(1, 2).flatten(2)), self.dropout, self.training))


class Hops(nn.Module):
    """What lies farther and farther away, the farthest first.

    Args:
        dim: width.
        heads: of the Transformer block.
        state: of Mamba.
        dropout: in the blocks.
        hops: of the symmetric normalised sum.
    """

    def __init__(self, dim: int, heads: int = 4, state: int = 8, dropout: float = 0.2, hops: int = 4) -> None:
        super().__init__()
        self.hops, self.dropout = hops, dropout
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.mambas = nn.ModuleList(Mamba(dim, state, expand=1) for _ in range(2))
        self.attention = Attention(dim, heads)
        self.feed = _Feed(dim, dropout)

    def forward(self, h: Tensor, tree: ClusterTree, graph: Csr) -> Tensor:
        """(N, dim) -> (N, dim)."""
        x = torch.stack(list(spread(h, graph, self.hops, symmetric))[::-1], 1)
        for norm, mamba in zip(self.norms, self.mambas, strict=False):
            x = x + F.dropout(mamba(norm(x)), self.dropout, self.training)
        y = self.norms[2](x)
        y = self.attention(y[:, -1:], context=y)[:, 0]
        return self.feed(x[:, -1] + F.dropout(y, self.dropout, self.training))


class GSM(NodeClassifier):
    """Local encoder, sequences, prediction.

    Args:
        channels: features of a node.
        classes: numbers that are predicted.
        tokenisers: of width `dim`; several make a mixture.
        dim: width.
        depth: layers of the local encoder.
        dropout: behind each of them.

    Attributes:
        aux: the router's balance term after a training step of a mixture.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        tokenisers: list[DepthFirst | BreadthFirst | Hops],
        dim: int = 64,
        depth: int = 4,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.aux: Tensor | None = None
        self.enter = nn.Linear(channels, dim)
        self.layers = nn.ModuleList(GNNLayer(dim, dim, GCNConv, nn.BatchNorm1d, True, dropout) for _ in range(depth))
        self.tokenisers = nn.ModuleList(tokenisers)
        many = len(tokenisers)
        self.router = nn.Linear(dim, many, bias=False) if many > 1 else None
        self.out = nn.Linear(dim * (1 + many), classes)

    def forward(self, x: Tensor | SparseRows, graph: Csr, tree: ClusterTree) -> Tensor:
        """(N, channels) -> (N, classes), the whole graph.

        Args:
            x: features.
            graph: with an edge from every node to itself.
            tree: of the same nodes.
        """
        h = linear(x, self.enter.weight, self.enter.bias)
        for layer, relation in zip(self.layers, layers_of(graph, len(self.layers)), strict=True):
            h = layer(h, relation)
        made = [tokeniser(h, tree, graph) for tokeniser in self.tokenisers]
        if self.router is not None:
            shares = self._shares(h)
            made = [y * share[:, None] for y, share in zip(made, shares.unbind(1), strict=True)]
        return self.out(torch.cat([h, *made], 1))

    def _shares(self, h: Tensor) -> Tensor:
        """(N, tokenisers), two of each row above 0."""
        assert self.router is not None
        scores = self.router(h).sigmoid()
        best, places = scores.topk(2, 1)
        if self.training:
            mean = scores.mean(0)
            self.aux = 0.01 * mean.var(correction=0) / mean.mean().square()
        else:
            self.aux = None
        return torch.zeros_like(scores).scatter(1, places, best / best.sum(1, keepdim=True))

    def classify(self, batch: Batch) -> Tensor:
        if batch.tree is None:
            raise UserError(
                "GSM: needs a hierarchy of clusters; give --data.loading apps.graph.data.hierarchical.Hierarchical."
            )
        return self(batch.x, batch.csr, batch.tree)[batch.targets]
