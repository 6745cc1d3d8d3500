"""The hierarchy of clusters as a network needs it: levels from the root, where there is one cluster, to the nodes.

A graph of several parts ends in several clusters, which one virtual root joins; a graph without edges is a root and its
nodes.  Level l holds n_l clusters, `parents[l]` their places in level l - 1, `sizes[l]` how many nodes each has.
"""

__all__ = ["ClusterTree"]

from copy import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apps.graph.data.graph import Graph
from apps.graph.hac import affinity, hierarchy


class ClusterTree:
    """Built once, before training.

    Args:
        graph: its clusters join along edges, in either direction.
        x: (N, F) features whose cosine says what is near; without, common neighbours do.
    """

    def __init__(self, graph: Graph, x: NDArray[np.float32] | None = None) -> None:
        found = hierarchy(graph, affinity(graph, x))
        labels = [np.arange(graph.nodes), *found.labels]
        if graph.nodes and labels[-1].max() > 0:
            labels.append(np.zeros(graph.nodes, np.int64))
        labels.reverse()
        self.labels = [torch.from_numpy(np.asarray(level, np.int64)) for level in labels]
        self.order = torch.from_numpy(np.asarray(found.order, np.int64))
        self.counts = [int(level.max()) + 1 for level in self.labels]
        self.sizes = [torch.bincount(level, minlength=n) for level, n in zip(self.labels, self.counts, strict=True)]
        self.parents = [torch.zeros(self.counts[0], dtype=torch.int64)]
        for above, level, n in zip(self.labels, self.labels[1:], self.counts[1:], strict=False):
            # All nodes of a cluster have one cluster above: any of them may write it.
            self.parents.append(torch.empty(n, dtype=torch.int64).scatter_(0, level, above))
        self._windows: dict[int, list[tuple[Tensor, Tensor, Tensor]]] = {}

    @property
    def depth(self) -> int:
        """Number of levels, the root's and the nodes' among them."""
        return len(self.labels)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "ClusterTree":
        """On another device; this one stays, for batches share it."""
        if torch.device(device) == self.order.device:
            return self
        made = copy(self)
        for name in ("labels", "sizes", "parents"):
            setattr(made, name, [t.to(device, non_blocking=non_blocking) for t in getattr(self, name)])
        made.order = self.order.to(device, non_blocking=non_blocking)
        made._windows = {}
        return made

    def means(self, x: Tensor) -> list[Tensor]:
        """(n_l, C) mean of the members of every cluster, from (N, C); sums go from level to level."""
        sums = [x]
        for parents, n in zip(reversed(self.parents[1:]), reversed(self.counts[:-1]), strict=True):
            sums.append(x.new_zeros(n, x.shape[1]).index_add(0, parents, sums[-1]))
        sums.reverse()
        return [total / size[:, None].to(x.dtype) for total, size in zip(sums, self.sizes, strict=True)]

    def windows(self, size: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """For every level its clusters in the order of the hierarchy, cut into near-equal windows, kept.

        Returns:
            A level each: places (W, K) of the clusters, mask (W, K) of those that are real, and (W, K, K) how many
            levels up two of them meet (0 is oneself).
        """
        if size not in self._windows:
            self._windows[size] = [self._cut(level, size) for level in range(self.depth)]
        return self._windows[size]

    def _cut(self, level: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
        own, n = self.labels[level], self.counts[level]
        row = own[self.order]
        new = torch.ones_like(row, dtype=torch.bool)
        new[1:] = row[1:] != row[:-1]
        # Nodes are sorted by their clusters of every level, so that each cluster appears once.
        sequence = row[new]
        windows = -(-n // size)
        width = -(-n // windows)
        places = torch.nn.functional.pad(sequence, (0, windows * width - n)).view(windows, width)
        mask = (torch.arange(windows * width, device=own.device) < n).view(windows, width)
        meet = torch.zeros(windows, width, width, dtype=torch.int64, device=own.device)
        above = places
        for step in range(level, -1, -1):
            meet += above[:, :, None] != above[:, None]
            above = self.parents[step][above]
        return places, mask, meet
