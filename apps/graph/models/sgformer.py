"""SGFormer (Wu et al., NeurIPS 2023, arXiv 2306.10759): one layer of linear attention over all nodes beside a graph
network.

    attention   q = Q / |Q|, k = K / |K|, the norms over ALL nodes, heads and channels
                y = mean over heads of (q (k^T V) + N V) / (q (k^T 1) + N)
    branch      x = dropout(relu(LN(W x))), then layers of  x <- dropout(act(LN(a attention(x) + (1 - a) x)))
    graph       x0 = dropout(relu(BN(W x))), then layers of x <- dropout(relu(BN(W [A x, x0]))) + x0
    y           W (w graph + (1 - w) branch), or W [branch, graph]

A is D^-1/2 A D^-1/2 of in-degrees, 0 where a node has none; no edges are added here. x (N, F), graph -> (N, classes);
cost O(N h^2 + E h).

N and the two norms are those of the nodes given: a batch of nodes is another function than the whole graph. The release
trains large graphs on random parts and evaluates on parts too; `forward` on the whole graph after training on parts is
what its authors report as working. The residual of the graph branch is always x0, as the release computes it: it never
adds later layers to its list.  (`Medium` in the release: the same attention branch without the activation, residual
weight 0.5, beside a graph network of any kind.)
"""

__all__ = ["AttentionBranch", "GraphBranch", "SGFormer", "SGFormerAttention"]

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.graph.data.items import Batch, SparseRows
from apps.graph.models.classifier import NodeClassifier
from apps.graph.models.convolutions import normalised_sum
from apps.graph.models.relation import Graphs, layers_of, linear, relations


class SGFormerAttention(nn.Module):
    """All-pairs attention without a softmax, which keeps half of each node's own value by its `N V`.

    Args:
        channels: of x.
        width: of each head and of the result.
        heads: averaged at the end.
        value: whether values have a projection; without, they are the rows themselves (channels = width).
    """

    def __init__(self, channels: int, width: int, heads: int = 1, value: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k = nn.Linear(channels, heads * width), nn.Linear(channels, heads * width)
        self.v = nn.Linear(channels, heads * width) if value else None

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(N, channels) -> (N, width); keys and values from a context of as many rows, if given."""
        context = x if context is None else context
        q, k = (layer(t).unflatten(-1, (self.heads, -1)) for layer, t in ((self.q, x), (self.k, context)))
        v = context[:, None] if self.v is None else self.v(context).unflatten(-1, (self.heads, -1))
        # One scale for both norms, on the small side of the products.
        scale = 1 / (q.norm() * k.norm())
        q, k, v = q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)
        above = q @ (k.mT @ v * scale) + len(x) * v
        below = q @ (k.sum(1)[..., None] * scale) + len(x)
        return (above / below).mean(0)


class AttentionBranch(nn.Module):
    """Layers of attention over all nodes.

    Args:
        channels: of x.
        hidden: width.
        depth: layers behind the first linear one.
        heads: of each.
        dropout: behind each.
        norm: whether there are LayerNorms.
        value: whether values have a projection.
        activation: relu behind each attention layer.
        residual: weight a of the new beside the old, 0.5 as published; 1 is without residual.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        depth: int = 1,
        heads: int = 1,
        *,
        dropout: float = 0.5,
        norm: bool = True,
        value: bool = True,
        activation: bool = True,
        residual: float = 0.5,
    ) -> None:
        super().__init__()
        self.dropout, self.activation, self.residual = dropout, activation, residual
        self.enter = nn.Linear(channels, hidden)
        self.layers = nn.ModuleList(SGFormerAttention(hidden, hidden, heads, value) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) if norm else nn.Identity() for _ in range(depth + 1))

    def forward(self, x: Tensor | SparseRows) -> Tensor:
        """(N, channels) -> (N, hidden)."""
        first, *norms = self.norms
        x = F.relu(first(linear(x, self.enter.weight, self.enter.bias)))
        x = F.dropout(x, self.dropout, self.training)
        for layer, norm in zip(self.layers, norms, strict=True):
            x = norm(torch.lerp(x, layer(x), self.residual))
            x = F.dropout(F.relu(x) if self.activation else x, self.dropout, self.training)
        return x


class GraphBranch(nn.Module):
    """Layers of normalised sums over neighbours.

    Args:
        channels: of x.
        hidden: width.
        depth: layers behind the first linear one.
        dropout: behind each.
        norm: whether there are BatchNorms.
        weight: whether sums have a projection.
        initial: project [A x, x0] instead of A x; there is a projection then in any case.
        activation: relu behind each layer.
        residual: add x0 to each layer.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        depth: int = 1,
        *,
        dropout: float = 0.5,
        norm: bool = True,
        weight: bool = True,
        initial: bool = False,
        activation: bool = True,
        residual: bool = True,
    ) -> None:
        super().__init__()
        self.dropout, self.initial, self.activation, self.residual = dropout, initial, activation, residual
        self.enter = nn.Linear(channels, hidden)
        width = 2 * hidden if initial else hidden
        self.layers = nn.ModuleList(
            nn.Linear(width, hidden) if weight or initial else nn.Identity() for _ in range(depth)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden) if norm else nn.Identity() for _ in range(depth + 1))

    def forward(self, x: Tensor | SparseRows, graph: Graphs) -> Tensor:
        """(M, channels) -> (R, hidden)."""
        first, *norms = self.norms
        x = F.relu(first(linear(x, self.enter.weight, self.enter.bias)))
        start = x = F.dropout(x, self.dropout, self.training)
        for layer, norm, relation in zip(self.layers, norms, layers_of(graph, len(self.layers)), strict=True):
            start = relation.own(start)  # type: ignore[assignment]
            x = normalised_sum(x, relation)
            x = norm(layer(torch.cat([x, start], 1) if self.initial else x))
            x = F.dropout(F.relu(x) if self.activation else x, self.dropout, self.training)
            x = x + start if self.residual else x
        return x


class SGFormer(NodeClassifier):
    """The two branches joined.

    Args:
        channels: features of a node.
        classes: numbers that are predicted.
        hidden: width of both branches.
        attention: over all nodes, made from (channels, hidden).
        graph: over edges, made alike; None for attention alone.
        graph_weight: w of the graph branch in the sum.
        concatenate: the branches side by side instead of summed up.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        hidden: int = 64,
        attention: Callable[[int, int], AttentionBranch] = AttentionBranch,
        graph: Callable[[int, int], GraphBranch] | None = GraphBranch,
        *,
        graph_weight: float = 0.8,
        concatenate: bool = False,
    ) -> None:
        super().__init__()
        self.attention = attention(channels, hidden)
        self.graph = None if graph is None else graph(channels, hidden)
        self.graph_weight, self.concatenate = graph_weight, concatenate
        self.out = nn.Linear(2 * hidden if concatenate else hidden, classes)

    def forward(self, x: Tensor | SparseRows, graph: Graphs) -> Tensor:
        """(N, channels) -> (N, classes)."""
        y = self.attention(x)
        if self.graph is not None:
            local = self.graph(x, graph)
            y = torch.cat([y, local], 1) if self.concatenate else torch.lerp(y, local, self.graph_weight)
        return self.out(y)

    def classify(self, batch: Batch) -> Tensor:
        depth = 1 if self.graph is None else len(self.graph.layers)
        return self(batch.x, relations(batch, depth))[batch.targets]
