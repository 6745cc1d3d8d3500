"""Polynormer (Deng et al., ICLR 2024, arXiv 2403.01232): polynomials of the features by products of layers, attention
over edges first, then linear attention over all nodes.

    local    g = relu(W_g x);  x = dropout(relu([BN](GAT(x) + W x)));  x <- (1 - b) LN(g * x) + b x;  sum of all layers
    global   x = LN(that sum), then layers of  k = sigmoid(W_k x), q = k;  y = LN(q (k^T v) / (q (k^T 1)))
             x <- dropout(relu(W_o (y * (W_g x + b))))

b is sigmoid(beta) a channel (beta below 0 in the release), a parameter without bounds that starts from a number, or a
number (the form for large graphs). x (N, F), graph -> (N, classes); the graph has an edge from every node to itself.

Trained in two stages: the local half with its own head (`stage` 0), then, from the
best state of the first stage, all of it.

Heads lie differently in the two halves, as in the release: side by side in the local one, interleaved (fastest) in the
global one. `LargePolynormer` is the release's form for large graphs: no input layer, GCN or GAT, BatchNorm, b a number.
"""

__all__ = ["GlobalAttention", "LargePolynormer", "Polynormer"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.graph.data.items import Batch, SparseRows
from apps.graph.models.classifier import NodeClassifier
from apps.graph.models.convolutions import Convolution, GATConv, GCNConv
from apps.graph.models.relation import Graphs, Relation, dropped, layers_of, linear, relations, sliced


class _Mixing(nn.Module):
    """b (width,): learnt through a sigmoid, learnt without, or fixed."""

    def __init__(self, width: int, beta: float | None, learnt: bool) -> None:
        super().__init__()
        self.bounded = beta is None
        if learnt:
            self.beta = nn.Parameter(torch.full((width,), 0.0 if beta is None else beta))
            if beta is None:
                nn.init.normal_(self.beta, std=width**-0.5)
        else:
            self.beta = 0.9 if beta is None else beta  # type: ignore[assignment]

    def forward(self) -> Tensor:
        return self.beta.sigmoid() if self.bounded else self.beta


class _Local(nn.Module):
    def __init__(
        self,
        channels: int,
        width: int,
        convolution: Convolution,
        mixing: _Mixing,
        pre: bool,
        batch: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.pre = nn.LayerNorm(channels) if pre else nn.Identity()
        self.gate, self.linear = nn.Linear(channels, width), nn.Linear(channels, width)
        self.convolution, self.mixing, self.dropout = convolution, mixing, dropout
        self.batch = nn.BatchNorm1d(width) if batch else nn.Identity()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor | SparseRows, relation: Relation) -> Tensor:
        if not isinstance(self.pre, nn.Identity):
            x = self.pre(x.dense() if isinstance(x, SparseRows) else x)
        own = relation.own(x)
        gate = F.relu(linear(own, self.gate.weight, self.gate.bias))
        y = self.convolution(x, relation) + linear(own, self.linear.weight, self.linear.bias)
        y = F.dropout(F.relu(self.batch(y)), self.dropout, self.training)
        b = self.mixing()
        return (1 - b) * self.norm(gate * y) + b * y


class GlobalAttention(nn.Module):
    """Layers of linear attention over all nodes with a sigmoid as feature map.

    Args:
        width: channels.
        heads: of them.
        depth: layers, which share their last projection.
        beta: where b starts; None for a sigmoid of a learnt number.
        learnt: whether b is learnt.
        dropout: behind each layer.
        shared: queries are the keys.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        depth: int,
        *,
        beta: float | None = None,
        learnt: bool = True,
        dropout: float = 0.5,
        shared: bool = True,
    ) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout

        def linears() -> nn.ModuleList:
            return nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

        self.gates, self.k, self.v = linears(), linears(), linears()
        self.q = None if shared else linears()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.mixings = nn.ModuleList(_Mixing(width, beta, learnt) for _ in range(depth))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width) -> (N, width)."""
        for i, (gate, norm, mixing) in enumerate(zip(self.gates, self.norms, self.mixings, strict=True)):
            k = self._heads(self.k[i](x).sigmoid())
            q = k if self.q is None else self._heads(self.q[i](x).sigmoid())
            v = self._heads(self.v[i](x))
            y = q @ (k.mT @ v) / (q @ k.sum(1)[..., None])
            y = norm(y.permute(1, 2, 0).flatten(1)) * (gate(x) + mixing())
            x = F.dropout(F.relu(self.out(y)), self.dropout, self.training)
        return x

    def _heads(self, x: Tensor) -> Tensor:
        """(N, d H) -> (H, N, d)."""
        return x.unflatten(-1, (-1, self.heads)).permute(2, 0, 1)


class _Both(NodeClassifier):
    """What the two forms share: local layers summed up, a head of their own, the global layers and theirs."""

    def __init__(self, layers: list[_Local], attention: GlobalAttention, classes: int, in_dropout: float) -> None:
        super().__init__()
        width = attention.out.in_features
        self.in_dropout = in_dropout
        self.layers = nn.ModuleList(layers)
        self.norm, self.attention = nn.LayerNorm(width), attention
        self.local_out, self.global_out = nn.Linear(width, classes), nn.Linear(width, classes)

    def _enter(self, x: Tensor | SparseRows) -> Tensor | SparseRows:
        return x

    def forward(self, x: Tensor | SparseRows, graph: Graphs, rows: int | None = None) -> Tensor:
        """The prediction of every row of the last layer's relation.

        Args:
            x: (M, channels), of the columns of the first layer's relation.
            graph: one for all local layers, or one each; attention is over the rows of the last.
            rows: nodes at a time in the local layers, for inference on large graphs.
        """
        x = self._enter(dropped(x, self.in_dropout, self.training))
        total: Tensor | None = None
        for layer, relation in zip(self.layers, layers_of(graph, len(self.layers)), strict=True):
            x = sliced(layer, x, relation, rows)
            total = x if total is None else relation.own(total) + x  # type: ignore[operator]
        assert total is not None
        return self.global_out(self.attention(self.norm(total))) if self.stage else self.local_out(total)

    def classify(self, batch: Batch) -> Tensor:
        return self(batch.x, relations(batch, len(self.layers)), batch.rows)[batch.targets]

    def heads(self) -> list[nn.Module]:
        return [self.local_out, self.global_out]


class Polynormer(_Both):
    """For graphs that are trained whole.

    Args:
        channels: features of a node.
        classes: numbers that are predicted.
        width: channels of all heads together.
        heads: number of them.
        local_depth: layers over edges.
        global_depth: layers over all nodes.
        beta: where b starts; None for a sigmoid of a learnt number.
        pre_norm: LayerNorm before each local layer.
        in_dropout: of the features.
        dropout: of the local half.
        global_dropout: of the global half.

    Attributes:
        stage: 0 predicts from the local layers, 1 from the global ones.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        width: int = 512,
        heads: int = 8,
        local_depth: int = 7,
        global_depth: int = 2,
        *,
        beta: float | None = None,
        pre_norm: bool = False,
        in_dropout: float = 0.15,
        dropout: float = 0.5,
        global_dropout: float = 0.5,
    ) -> None:
        layers = [
            _Local(width, width, GATConv(width, width, heads), _Mixing(width, beta, True), pre_norm, False, dropout)
            for _ in range(local_depth)
        ]
        attention = GlobalAttention(width, heads, global_depth, beta=beta, dropout=global_dropout)
        super().__init__(layers, attention, classes, in_dropout)
        self.enter, self.dropout = nn.Linear(channels, width), dropout

    def _enter(self, x: Tensor | SparseRows) -> Tensor:
        return F.dropout(linear(x, self.enter.weight, self.enter.bias), self.dropout, self.training)


class LargePolynormer(_Both):
    """For graphs that are trained in parts; its first layer reads the features themselves.

    Args:
        channels: features of a node.
        classes: numbers that are predicted.
        width: channels of all heads together.
        heads: of attention.
        local_depth: layers over edges.
        global_depth: layers over all nodes.
        beta: the number b.
        attend: over edges by attention instead of the normalised sum.
        pre_norm: LayerNorm before each local layer.
        batch_norm: BatchNorm in each local layer.
        in_dropout: of the features.
        dropout: of the local half.
        global_dropout: of the global half.

    Attributes:
        stage: 0 predicts from the local layers, 1 from the global ones.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        width: int = 256,
        heads: int = 1,
        local_depth: int = 7,
        global_depth: int = 2,
        *,
        beta: float = 0.9,
        attend: bool = False,
        pre_norm: bool = False,
        batch_norm: bool = True,
        in_dropout: float = 0.15,
        dropout: float = 0.5,
        global_dropout: float = 0.5,
    ) -> None:
        layers = []
        for wide in [channels] + [width] * (local_depth - 1):
            convolution = GATConv(wide, width, heads) if attend else GCNConv(wide, width)
            mixing = _Mixing(width, beta, False)
            layers.append(_Local(wide, width, convolution, mixing, pre_norm, batch_norm, dropout))
        attention = GlobalAttention(width, heads, global_depth, beta=beta, learnt=False, dropout=global_dropout)
        super().__init__(layers, attention, classes, in_dropout)
