"""Edge lists to sorted rows, compiled: count the ends, fill, sort each row."""

__all__ = ["first_fault", "first_one_way", "firsts", "has_loop", "rows_of", "squeezed"]

import numpy as np
from numpy.typing import NDArray

from apps.graph.compiled import compiled


def rows_of(
    source: NDArray, target: NDArray, nodes: int, both: bool, with_order: bool
) -> tuple[NDArray[np.int64], NDArray, NDArray[np.int64]]:
    """Offsets (N + 1,), sorted sources of each row (int32 where they fit), and which edge each came from.

    Args:
        source, target: (E,) ids in range.
        nodes: N.
        both: enter every edge at both of its ends, a self loop once.
        with_order: whether the last is wanted; it is empty otherwise.
    """
    offsets = np.zeros(nodes + 1, np.int64)
    _count(source, target, both, offsets)
    np.cumsum(offsets, out=offsets)
    total = int(offsets[-1])
    neighbours = np.empty(total, np.int32 if nodes < 2**31 else np.int64)
    order = np.empty(total if with_order else 0, np.int64)
    _fill(source, target, both, offsets, neighbours, order)
    _sort(offsets, neighbours, order)
    return offsets, neighbours, order


@compiled
def _count(source, target, both, counts):
    for e in range(len(source)):
        counts[target[e] + 1] += 1
        if both and source[e] != target[e]:
            counts[source[e] + 1] += 1


@compiled
def _fill(source, target, both, starts, neighbours, order):
    for e in range(len(source)):
        at = starts[target[e]]
        neighbours[at] = source[e]
        if len(order):
            order[at] = e
        starts[target[e]] = at + 1
        if both and source[e] != target[e]:
            at = starts[source[e]]
            neighbours[at] = target[e]
            if len(order):
                order[at] = e
            starts[source[e]] = at + 1
    # Each start has moved to its end, which is the start of the next.
    for n in range(len(starts) - 1, 0, -1):
        starts[n] = starts[n - 1]
    starts[0] = 0


@compiled
def _sort(offsets, neighbours, order):
    for n in range(len(offsets) - 1):
        a, b = offsets[n], offsets[n + 1]
        rising = True
        for e in range(a + 1, b):
            if neighbours[e] < neighbours[e - 1]:
                rising = False
                break
        if rising:
            continue
        if len(order) == 0:
            neighbours[a:b].sort()
        else:
            by = np.argsort(neighbours[a:b], kind="mergesort")
            neighbours[a:b] = neighbours[a:b][by]
            order[a:b] = order[a:b][by]


@compiled
def firsts(offsets, neighbours):
    """(E,) bool: not the same source as the edge before it in its row."""
    keep = np.ones(len(neighbours), np.bool_)
    for n in range(len(offsets) - 1):
        for e in range(offsets[n] + 1, offsets[n + 1]):
            keep[e] = neighbours[e] != neighbours[e - 1]
    return keep


@compiled
def squeezed(offsets, neighbours):
    """Offsets and neighbours with every edge of a row once; what is given stays as it is."""
    ends = np.zeros_like(offsets)
    for n in range(len(offsets) - 1):
        count = 0
        for e in range(offsets[n], offsets[n + 1]):
            if e == offsets[n] or neighbours[e] != neighbours[e - 1]:
                count += 1
        ends[n + 1] = ends[n] + count
    kept = np.empty(ends[-1], neighbours.dtype)
    at = 0
    for n in range(len(offsets) - 1):
        for e in range(offsets[n], offsets[n + 1]):
            if e == offsets[n] or neighbours[e] != neighbours[e - 1]:
                kept[at] = neighbours[e]
                at += 1
    return ends, kept


@compiled
def has_loop(offsets, neighbours):
    """(N,) bool: there is an edge from the node to itself."""
    found = np.zeros(len(offsets) - 1, np.bool_)
    for n in range(len(offsets) - 1):
        a, b = offsets[n], offsets[n + 1]
        e = a + np.searchsorted(neighbours[a:b], n)
        found[n] = e < b and neighbours[e] == n
    return found


def first_fault(offsets: NDArray, neighbours: NDArray) -> str:
    """What is wrong with the arrays of a graph, or ""."""
    if offsets.dtype != np.int64 or neighbours.dtype not in (np.int32, np.int64):
        return f"offsets are {offsets.dtype} and neighbours {neighbours.dtype}; store int64, neighbours may be int32."
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(neighbours):
        return f"offsets must begin with 0 and end with the number of edges, {len(neighbours)}."
    row, kind = _fault(offsets, neighbours)
    if kind == 0:
        return ""
    return f"row {row} " + (
        "ends before it begins; offsets must not fall.",
        f"names a neighbour outside 0 .. {len(offsets) - 2}; correct the ids.",
        "is not sorted; build the graph with Graph.of, which sorts.",
    )[kind - 1]  # fmt: skip


@compiled
def _fault(offsets, neighbours):
    nodes = len(offsets) - 1
    for n in range(nodes):
        a, b = offsets[n], offsets[n + 1]
        if b < a or b > len(neighbours):
            return n, 1
        for e in range(a, b):
            if neighbours[e] < 0 or neighbours[e] >= nodes:
                return n, 2
            if e > a and neighbours[e] < neighbours[e - 1]:
                return n, 3
    return 0, 0


@compiled
def first_one_way(offsets, neighbours):
    """(source, target) of an edge without its other direction, or (-1, -1); rows are sorted.

    Sources rise in every row, so that an edge i -> j, taken by i, meets the next entry of row i's partner: one pass.
    """
    read = offsets[:-1].copy()
    for i in range(len(offsets) - 1):
        for e in range(offsets[i], offsets[i + 1]):
            j = neighbours[e]
            if read[j] == offsets[j + 1] or neighbours[read[j]] != i:
                return np.int64(j), np.int64(i)
            read[j] += 1
    return np.int64(-1), np.int64(-1)
