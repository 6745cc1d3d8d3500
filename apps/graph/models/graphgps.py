"""GraphGPS (Rampasek et al., NeurIPS 2022, arXiv 2205.12454): in each layer a graph convolution and attention over all
nodes of a graph, added up.

    h = norm(local(x)) + norm(x + dropout(attention(x)));  x <- norm(h + dropout(W dropout(act(W h))))

`local` is x and a convolution of it: GatedGCN (Bresson and Laurent 2017) with features of edges,

    e_ij = D x_i + E x_j + C e;  x_i + act(BN(A x_i + sum_j s(e_ij) B x_j / (sum_j s(e_ij) + 1e-6)));  e + act(BN(e_ij))

or any other with a residual around it. Shapes: x (N, dim), edges (E, dim) in the order of the relation, `starts`
(G + 1,) where graphs of a batch begin. Attention is exact and O(N^2) within a graph: for some ten thousand nodes.

Published with BatchNorm or with PyG's LayerNorm in "graph" mode (`GraphLayerNorm`): mean and variance over all nodes
and channels of a graph. Gates weigh a fused sum a channel at a time, numerator and denominator in one pass.
"""

__all__ = ["EdgeGATConv", "GINConv", "GINEConv", "GPSLayer", "GatedGCN", "GraphGPS", "GraphLayerNorm", "Residual"]

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.graph.data.items import Batch, SparseRows
from apps.graph.models.classifier import NodeClassifier
from apps.graph.models.convolutions import Convolution
from apps.graph.models.relation import Graphs, Relation, layers_of, linear, relations
from core.layout import Ragged
from core.mixers.attention import Attention
from core.ops.csr import Csr, csr_sum
from core.ops.csr_attend import csr_softmax

EPS = 1e-6


class GatedGCN(nn.Module):
    """Gates on edges, a channel each, which are handed on.

    Args:
        dim: width of nodes and edges.
        dropout: behind both.
        residual: add both to what they come from.
        activation: made without arguments.
    """

    def __init__(
        self,
        dim: int,
        dropout: float = 0.0,
        residual: bool = True,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.dropout, self.residual = dropout, residual
        self.node, self.value, self.edge, self.target, self.source = (nn.Linear(dim, dim) for _ in range(5))
        self.node_norm, self.edge_norm = nn.BatchNorm1d(dim), nn.BatchNorm1d(dim)
        self.activation = activation()

    def forward(self, x: Tensor, relation: Relation, edges: Tensor) -> tuple[Tensor, Tensor]:
        """(M, dim), (E, dim) -> (R, dim), (E, dim)."""
        csr, own = relation.csr, relation.own(x)
        assert isinstance(own, Tensor)
        sums = self.target(own).index_select(0, csr.numbers) + self.source(x).index_select(0, csr.columns)
        sums = sums + self.edge(edges)
        value = self.value(x)
        mixed = csr_sum(torch.stack([value, torch.ones_like(value)], -1), csr, sums.sigmoid())
        y = self.node(own) + mixed[..., 0] / (mixed[..., 1] + EPS)
        y, sums = self.activation(self.node_norm(y)), self.activation(self.edge_norm(sums))
        y, sums = F.dropout(y, self.dropout, self.training), F.dropout(sums, self.dropout, self.training)
        return (own + y, edges + sums) if self.residual else (y, sums)


class _Perceptron(nn.Module):
    def __init__(self, dim: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, dim), activation(), nn.Linear(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class GINConv(nn.Module):
    """W act(W (x_i + sum_j x_j)) (Xu et al. 2019).

    Args:
        dim: width.
        activation: made without arguments.
    """

    def __init__(self, dim: int, activation: Callable[[], nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.feed = _Perceptron(dim, activation)

    def forward(self, x: Tensor, relation: Relation) -> Tensor:
        """(M, dim) -> (R, dim)."""
        return self.feed(relation.own(x) + csr_sum(x, relation.csr))  # type: ignore[operator]


class GINEConv(nn.Module):
    """W act(W (x_i + sum_j relu(x_j + e_ij))) (Hu et al. 2020).

    Args:
        dim: width of nodes and edges.
        activation: made without arguments.
    """

    def __init__(self, dim: int, activation: Callable[[], nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.feed = _Perceptron(dim, activation)

    def forward(self, x: Tensor, relation: Relation, edges: Tensor) -> Tensor:
        """(M, dim), (E, dim) -> (R, dim)."""
        csr = relation.csr
        messages = F.relu(x.index_select(0, csr.columns) + edges)
        each = Csr(csr.offsets, torch.arange(csr.edges, device=x.device), csr.edges)
        return self.feed(relation.own(x) + csr_sum(messages, each))  # type: ignore[operator]


class EdgeGATConv(nn.Module):
    """Graph attention whose logits have a part of the edge, leaky(s . W x_j + t . W x_i + u . W_e e_ij), plus a bias.

    Every node has one edge to itself, whose features are the mean of those of the others into it, as in PyG.

    Args:
        dim: width of nodes and edges.
        heads: number of them; divides dim.
        slope: of the leaky step.
    """

    def __init__(self, dim: int, heads: int, slope: float = 0.2) -> None:
        super().__init__()
        self.slope = slope
        self.weight, self.edge = nn.Parameter(torch.empty(dim, dim)), nn.Linear(dim, dim, bias=False)
        self.source, self.target, self.along = (nn.Parameter(torch.empty(heads, dim // heads)) for _ in range(3))
        for weight in self.parameters():
            nn.init.xavier_uniform_(weight)
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, relation: Relation, edges: Tensor) -> Tensor:
        """(N, dim), (E, dim) -> (N, dim), the whole graph."""
        csr, loops = relation.csr, torch.arange(len(x), device=x.device)
        source, target = csr.columns.long(), csr.numbers
        others = (source != target).nonzero()[:, 0]
        source, target = source[others], target[others]
        rows = linear(x, self.weight).unflatten(-1, self.source.shape)
        along = (self.edge(edges[others]).unflatten(-1, self.along.shape) * self.along).sum(-1)
        # The logit of a mean is the mean of logits.
        counts = torch.bincount(target, minlength=len(x)).clamp(min=1)[:, None]
        mean = along.new_zeros(len(x), along.shape[1]).index_add(0, target, along) / counts
        every, order = Csr.of(torch.stack([torch.cat([source, loops]), torch.cat([target, loops])]), len(x))
        logits = (rows * self.source).sum(-1).index_select(0, every.columns)
        logits = logits + (rows * self.target).sum(-1).index_select(0, every.numbers)
        logits = F.leaky_relu(logits + torch.cat([along, mean]).index_select(0, order), self.slope)
        return csr_sum(rows, every, csr_softmax(logits, every)).flatten(1) + self.bias


class Residual(nn.Module):
    """x + dropout(convolution(x)); edges stay what they are.

    Args:
        inner: a convolution, or one that takes edges too.
        edges: whether it does.
        dropout: of its result.
    """

    def __init__(
        self, inner: Convolution | GINConv | GINEConv | EdgeGATConv, edges: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.inner, self.edges, self.dropout = inner, edges, dropout

    def forward(self, x: Tensor, relation: Relation, edges: Tensor) -> tuple[Tensor, Tensor]:
        """(M, dim), (E, dim) -> (R, dim), (E, dim)."""
        y = self.inner(x, relation, edges) if self.edges else self.inner(x, relation)
        return relation.own(x) + F.dropout(y, self.dropout, self.training), edges


class GraphLayerNorm(nn.Module):
    """Mean and variance over all nodes and channels of a graph.

    Args:
        dim: width.
        eps: added to the variance.
    """

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim)), eps

    def forward(self, x: Tensor, starts: Tensor) -> Tensor:
        """(N, dim)."""
        counts = starts.diff()
        numbers = torch.repeat_interleave(torch.arange(len(counts), device=x.device), counts, output_size=len(x))
        x = x - self._means(x.mean(1), numbers, counts)
        variance = self._means(x.square().mean(1), numbers, counts)
        return x * (variance + self.eps).rsqrt() * self.weight + self.bias

    @staticmethod
    def _means(values: Tensor, numbers: Tensor, counts: Tensor) -> Tensor:
        """(N, 1) mean of (N,) over each node's graph."""
        means = values.new_zeros(len(counts)).index_add(0, numbers, values) / counts.clamp(min=1)
        return means.index_select(0, numbers)[:, None]


class GPSLayer(nn.Module):
    """A convolution and attention side by side, and a feed-forward network.

    Args:
        dim: width.
        local: (x, relation, edges) -> (x', edges'), with its residual; None for none.
        heads: of the attention; 0 for none.
        norm: made from the width: nn.BatchNorm1d, `GraphLayerNorm`; None for none.
        dropout: of the attention and of the feed-forward network.
        attention_dropout: of attention weights.
        activation: made without arguments.
    """

    def __init__(
        self,
        dim: int,
        local: GatedGCN | Residual | None,
        heads: int = 4,
        *,
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm1d,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        if local is None and not heads:
            raise ValueError("GPSLayer: neither a convolution nor heads of attention; give it one of the two")
        self.local, self.dropout = local, dropout
        self.attention = Attention(dim, heads, dropout=attention_dropout) if heads else None
        make = norm or (lambda width: nn.Identity())
        self.local_norm = None if local is None else make(dim)
        self.attention_norm = make(dim) if heads else None
        self.norm = make(dim)
        self.enter, self.leave, self.activation = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim), activation()

    def forward(self, x: Tensor, relation: Relation, edges: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        """(N, dim), (E, dim) -> the same.

        Args:
            x: nodes.
            relation: over all of them.
            edges: in its order.
            starts: (G + 1,) of the graphs in the batch.
        """
        parts = []
        if self.local is not None:
            y, edges = self.local(x, relation, edges)
            parts.append(_normed(self.local_norm, y, starts))
        if self.attention is not None:
            y = self.attention(Ragged(x, starts)).tokens
            parts.append(_normed(self.attention_norm, x + F.dropout(y, self.dropout, self.training), starts))
        h = sum(parts[1:], parts[0])
        y = F.dropout(self.activation(self.enter(h)), self.dropout, self.training)
        return _normed(self.norm, h + F.dropout(self.leave(y), self.dropout, self.training), starts), edges


def _normed(norm: nn.Module | None, x: Tensor, starts: Tensor) -> Tensor:
    assert norm is not None
    return norm(x, starts) if isinstance(norm, GraphLayerNorm) else norm(x)


class GraphGPS(NodeClassifier):
    """Layers between two linear ones; a graph without features of edges has one learnt vector for all.

    Args:
        channels: features of a node, with those of its encoding.
        classes: numbers that are predicted.
        dim: width.
        depth: number of layers.
        heads: of the attention; 0 for none.
        local: made from the width for each layer.
        norm: of each layer, made from the width.
        dropout: in each layer.
        attention_dropout: of attention weights.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        dim: int = 64,
        depth: int = 3,
        heads: int = 4,
        *,
        local: Callable[[int], GatedGCN | Residual] = GatedGCN,
        norm: Callable[[int], nn.Module] = nn.BatchNorm1d,
        dropout: float = 0.2,
        attention_dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(channels, dim)
        self.edge = nn.Parameter(torch.zeros(dim))
        self.layers = nn.ModuleList(
            GPSLayer(dim, local(dim), heads, norm=norm, dropout=dropout, attention_dropout=attention_dropout)
            for _ in range(depth)
        )
        self.out = nn.Linear(dim, classes)

    def forward(
        self, x: Tensor | SparseRows, graph: Graphs, edges: Tensor | None = None, starts: Tensor | None = None
    ) -> Tensor:
        """(N, channels) -> (N, classes).

        Args:
            x: features.
            graph: over all nodes.
            edges: (E, dim) in its order.
            starts: (G + 1,) where graphs of the batch begin; one graph by default.
        """
        x = linear(x, self.enter.weight, self.enter.bias)
        relations = layers_of(graph, len(self.layers))
        if edges is None:
            edges = self.edge.expand(relations[0].csr.edges, -1)
        if starts is None:
            starts = torch.tensor([0, len(x)], device=x.device)
        for layer, relation in zip(self.layers, relations, strict=True):
            x, edges = layer(x, relation, edges, starts)
        return self.out(x)

    def classify(self, batch: Batch) -> Tensor:
        return self(batch.x, relations(batch, len(self.layers)), starts=batch.starts)[batch.targets]
