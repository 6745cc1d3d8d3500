"""Parts of a graph with all edges among their nodes: given sets, random parts, ego graphs, blocks of rows.

    induced      given nodes, or groups of them side by side without edges in between
    EgoGraphs    the drawn neighbourhood of every seed as a graph of its own (ShaDow, Zeng et al. 2021, "Decoupling the
                 depth and scope of graph neural networks")
    row_blocks   some rows with all their edges and the nodes that these come from: one layer of inference at a time

Cost: the degrees of the nodes added up; a row much longer than its group is searched for the group's members instead.
"""

__all__ = ["Block", "EgoGraphs", "Part", "induced", "row_blocks"]

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apps.graph.compiled import compiled
from apps.graph.data.graph import Graph

from . import kernels
from .neighbours import Neighbours, check_ids


class Part(NamedTuple):
    """Groups of nodes and the edges inside of each.

    Attributes:
        nodes: (n,) int64 ids in the whole graph.
        offsets: (n + 1,) int64, edges into each node.
        columns: (e,) int64, sources as positions in `nodes`.
        places: (e,) int64, positions of the edges in the graph.
        starts: (G + 1,) int64, where the nodes of each group begin.
    """

    nodes: NDArray[np.int64]
    offsets: NDArray[np.int64]
    columns: NDArray[np.int64]
    places: NDArray[np.int64]
    starts: NDArray[np.int64]


class Block(NamedTuple):
    """Some rows in full.

    Attributes:
        first, last: rows of the graph, `last` excluded.
        sources: (n,) int64 ids that the edges come from, rising.
        offsets: (last - first + 1,) int64.
        columns: (e,) int64, positions in `sources`.
    """

    first: int
    last: int
    sources: NDArray[np.int64]
    offsets: NDArray[np.int64]
    columns: NDArray[np.int64]


def induced(
    graph: Graph,
    nodes: NDArray[np.int64],
    starts: NDArray[np.int64] | None = None,
    slots: NDArray[np.int32] | None = None,
) -> Part:
    """All edges whose ends are in the same group.

    Args:
        graph: of any origin; it is checked here, once.
        nodes: (n,) ids, in a group each once.
        starts: (G + 1,) where groups begin; one group by default.
        slots: (N,) -1, to work with; made where it is not given.
    """
    graph.check()
    nodes = check_ids(nodes, graph.nodes, "position")
    starts = np.array([0, len(nodes)]) if starts is None else np.ascontiguousarray(starts, np.int64)
    slots = np.full(graph.nodes, -1, np.int32) if slots is None else slots
    ends, none = np.zeros(len(nodes) + 1, np.int64), np.empty(0, np.int64)
    total = kernels.induce(graph.offsets, graph.neighbours, nodes, starts, slots, ends, none, none)
    columns, places = np.empty(total, np.int64), np.empty(total, np.int64)
    if total:
        kernels.induce(graph.offsets, graph.neighbours, nodes, starts, slots, ends, columns, places)
    return Part(nodes, ends, columns, places, starts)


class EgoGraphs:
    """The neighbourhood of every seed, a graph of its own with all edges among its nodes, the seed first.

    Args:
        graph: of any origin; it is checked here, once.
        fan_out: edges into a node of each hop.
        seed: of the draws.
    """

    def __init__(self, graph: Graph, fan_out: tuple[int, ...], seed: int = 0):
        self.neighbours = Neighbours(graph, fan_out, disjoint=True, seed=seed)

    def sample(self, seeds: NDArray[np.int64], key: int = 0) -> Part:
        """Group s belongs to seed s."""
        drawn = self.neighbours.sample(seeds, key)
        assert drawn.trees is not None
        order = np.argsort(drawn.trees, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(drawn.trees, minlength=len(seeds)))])
        return induced(self.neighbours.graph, drawn.nodes[order], starts, self.neighbours.slots())


def row_blocks(graph: Graph, size: int) -> Iterator[Block]:
    """All rows in order, `size` at a time."""
    graph.check()
    seen = np.full(graph.nodes, -1, np.int32)
    for first in range(0, graph.nodes, size):
        last = min(first + size, graph.nodes)
        a, b = int(graph.offsets[first]), int(graph.offsets[last])
        own = np.asarray(graph.neighbours[a:b])
        sources = _distinct(own, seen)
        sources.sort()
        columns = _numbered(own, sources, seen)
        yield Block(first, last, sources, np.asarray(graph.offsets[first : last + 1]) - a, columns)


@compiled
def _distinct(ids, seen):
    found = np.empty(len(ids), np.int64)
    count = 0
    for n in ids:
        if seen[n] < 0:
            seen[n] = 0
            found[count] = n
            count += 1
    return found[:count].copy()


@compiled
def _numbered(ids, sources, seen):
    for n in range(len(sources)):
        seen[sources[n]] = n
    columns = np.empty(len(ids), np.int64)
    for e in range(len(ids)):
        columns[e] = seen[ids[e]]
    for n in sources:
        seen[n] = -1
    return columns
