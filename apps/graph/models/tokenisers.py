"""The sequences of GSM++ (`apps.graph.models.gsm`), and Mamba twice and a Transformer block on them.

    DepthFirst    the path root -> node of the hierarchy of clusters, all paths at once
    BreadthFirst  the clusters of a level side by side
    Hops          P^4 h, ..., P h, h
    RandomWalks   walks that end at the node

Each maps (N, dim) encodings, the tree and the graph to (n, dim) of the nodes that are asked for.
"""

__all__ = ["BreadthFirst", "DepthFirst", "Hops", "RandomWalks"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.graph.cluster_tree import ClusterTree
from apps.graph.models.diffusion import spread, symmetric
from apps.graph.models.tree_mamba import TreeMamba
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

    def forward(self, h: Tensor, tree: ClusterTree, graph: Csr, nodes: Tensor) -> Tensor:
        """(N, dim) -> (n, dim) of `nodes` (n,)."""
        levels = [x + self.level.weight[tree.depth - 1 - i] for i, x in enumerate(tree.means(h))]
        for norm, mamba in zip(self.norms, self.mambas, strict=False):
            moved = mamba.walk([norm(x) for x in levels], tree.parents)  # type: ignore[operator]
            levels = [x + F.dropout(y, self.dropout, self.training) for x, y in zip(levels, moved, strict=True)]
        rows = [self.norms[2](x) for x in levels]
        q = self.q(rows[-1][nodes]).unflatten(-1, (self.heads, -1))
        # Keys and values once a cluster; every node then reads those above it.
        k, v = (
            torch.stack([layer(x).index_select(0, own[nodes]) for x, own in zip(rows, tree.labels, strict=True)], 1)
            for layer in (self.k, self.v)
        )
        k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (k, v))
        y = self.out(attend(q[:, :, None], k, v).flatten(1))
        return self.feed(levels[-1][nodes] + F.dropout(y, self.dropout, self.training))


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

    def forward(self, h: Tensor, tree: ClusterTree, graph: Csr, nodes: Tensor) -> Tensor:
        """(N, dim) -> (n, dim) of `nodes` (n,)."""
        total = h.new_zeros(len(nodes), h.shape[1])
        parts = zip(tree.means(h), tree.windows(self.window), tree.labels, strict=True)
        for i, (x, (places, mask, meet), own) in enumerate(parts):
            rows = (x + self.level.weight[tree.depth - 1 - i])[places]
            y = self._level(rows, mask, meet)
            # Each cluster stands in one place: the padding of the last window is cut off before.
            back = torch.empty_like(x).index_copy(0, places[mask], y[mask])
            total = total + back.index_select(0, own[nodes])
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


class _Sequences(nn.Module):
    """Mamba and the Transformer block over a sequence a row; what stands at its end is read."""

    def __init__(self, dim: int, heads: int, state: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.mambas = nn.ModuleList(Mamba(dim, state, expand=1) for _ in range(2))
        self.attention = Attention(dim, heads)
        self.feed = _Feed(dim, dropout)

    def read(self, x: Tensor) -> Tensor:
        """(n, T, dim) -> (n, dim)."""
        for norm, mamba in zip(self.norms, self.mambas, strict=False):
            x = x + F.dropout(mamba(norm(x)), self.dropout, self.training)
        y = self.norms[2](x)
        y = self.attention(y[:, -1:], context=y)[:, 0]
        return self.feed(x[:, -1] + F.dropout(y, self.dropout, self.training))


class Hops(_Sequences):
    """What lies farther and farther away, the farthest first.

    Args:
        dim: width.
        heads: of the Transformer block.
        state: of Mamba.
        dropout: in the blocks.
        hops: of the symmetric normalised sum.
    """

    def __init__(self, dim: int, heads: int = 4, state: int = 8, dropout: float = 0.2, hops: int = 4) -> None:
        super().__init__(dim, heads, state, dropout)
        self.hops = hops

    def forward(self, h: Tensor, tree: ClusterTree, graph: Csr, nodes: Tensor) -> Tensor:
        """(N, dim) -> (n, dim) of `nodes` (n,)."""
        return self.read(torch.stack([x[nodes] for x in spread(h, graph, self.hops, symmetric)][::-1], 1))


class RandomWalks(_Sequences):
    """Walks against the edges from each node, turned round; one without edges stays where it is.

    Args:
        dim: width.
        heads: of the Transformer block.
        state: of Mamba.
        dropout: in the blocks.
        walks: from each node.
        length: nodes of a walk, the node itself among them.
    """

    def __init__(
        self, dim: int, heads: int = 4, state: int = 8, dropout: float = 0.2, walks: int = 4, length: int = 8
    ) -> None:
        super().__init__(dim, heads, state, dropout)
        self.walks, self.length = walks, length

    def forward(self, h: Tensor, tree: ClusterTree, graph: Csr, nodes: Tensor) -> Tensor:
        """(N, dim) -> (n, dim) of `nodes` (n,)."""
        x = h[self.walk(graph, nodes)]
        return self.read(x.flatten(0, 1)).unflatten(0, (-1, self.walks)).mean(1)

    def walk(self, graph: Csr, nodes: Tensor) -> Tensor:
        """(n, walks, length) nodes, the last of each walk its own."""
        fixed = None if self.training else torch.Generator(nodes.device).manual_seed(0)
        here = nodes[:, None].expand(-1, self.walks)
        passed, degrees = [here], graph.degrees
        for _ in range(self.length - 1):
            # For all nodes, so that a node's walks do not depend on which others are asked for.
            u = torch.rand(graph.rows, self.walks, generator=fixed, device=nodes.device, dtype=torch.float64)[nodes]
            if graph.edges:
                edge = graph.offsets[here] + (u * degrees[here]).long()
                there = graph.columns[edge.clamp(max=graph.edges - 1)].long()
                here = torch.where(degrees[here] > 0, there, here)
            passed.append(here)
        return torch.stack(passed[::-1], 2)
