"""A hierarchy of clusters: every cluster joins the nearest one that it has an edge to, again and again (affinity
clustering, Bateni et al. 2017, the parallel form of Boruvka's tree; its use as a tokenisation is GSM++'s).

The distance of two clusters is the smallest over the edges in between; ties go by the pair of end ids, so the tree does
not depend on how edges are stored. Each round at least halves the clusters that have an edge; it ends when no edge is
left between clusters. Directed edges join their ends whichever way they point.
"""

__all__ = ["Hierarchy", "affinity", "hierarchy"]

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apps.graph.compiled import compiled
from apps.graph.data.graph import Graph


class Hierarchy(NamedTuple):
    """Clusters of clusters.

    Attributes:
        labels: level -> (N,) cluster of every node, numbered by first appearance; level 0, the nodes, is left out.
        order: (N,) nodes sorted by top cluster, then the one below, and so on: similar ones stand together.
    """

    labels: list[NDArray[np.int64]]
    order: NDArray[np.int64]


def affinity(graph: Graph, x: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """(E,) distances of the ends of every edge, rounded to 1e-6, which all machines agree on.

    Args:
        graph: N nodes.
        x: (N, F), whose cosine counts; without, how few neighbours the ends share (1 - Jaccard's coefficient).
    """
    graph.check()
    if x is None:
        return _unlike_rows(graph.offsets, graph.neighbours)
    length = np.sqrt(np.einsum("nf,nf->n", x, x, dtype=np.float64)).astype(np.float32)
    unit = np.ascontiguousarray(x) / np.maximum(length, 1e-12)[:, None]
    return _unlike_features(graph.offsets, graph.neighbours, unit, graph.symmetric)


def hierarchy(graph: Graph, distances: NDArray[np.float32]) -> Hierarchy:
    """The tree of clusters.

    Args:
        graph: of any origin.
        distances: (E,) of its edges; of the two directions the smaller counts.
    """
    graph.check()
    once = _once_of_both if graph.symmetric else _once
    source, target, distances = once(graph.offsets, graph.neighbours, np.asarray(distances, np.float32))
    # Rank the edges once: by distance, then by the pair of ends, in which order they already are.
    source, target = _ranked(source, target, distances)
    del distances
    whole = np.arange(graph.nodes)
    labels: list[NDArray[np.int64]] = []
    number = graph.nodes
    while len(source):
        parents = _join(source, target, number)
        number = int(parents.max()) + 1
        whole = parents[whole]
        labels.append(whole)
        source, target = _outer(source, target, parents)
    keys = [np.arange(graph.nodes), *labels]
    return Hierarchy(labels, np.lexsort(keys))


@compiled
def _once(offsets, neighbours, distances):
    """Every pair of ends once, lower id first, in the order of the pairs, with its smallest distance."""
    nodes = len(offsets) - 1
    counts = np.zeros(nodes + 1, np.int64)
    for i in range(nodes):
        for e in range(offsets[i], offsets[i + 1]):
            if neighbours[e] != i:
                counts[min(i, neighbours[e]) + 1] += 1
    starts = np.cumsum(counts)
    high = np.empty(starts[nodes], neighbours.dtype)
    near = np.empty(starts[nodes], np.float32)
    fill = starts.copy()
    for i in range(nodes):
        for e in range(offsets[i], offsets[i + 1]):
            j = neighbours[e]
            if j != i:
                low = min(i, j)
                high[fill[low]] = max(i, j)
                near[fill[low]] = distances[e]
                fill[low] += 1
    low = np.empty_like(high)
    kept = 0
    for i in range(nodes):
        a, b = starts[i], starts[i + 1]
        by = np.argsort(high[a:b], kind="mergesort")
        row, values = high[a:b][by], near[a:b][by]
        begin = kept
        for k in range(b - a):
            if kept > begin and high[kept - 1] == row[k]:
                near[kept - 1] = min(near[kept - 1], values[k])
            else:
                low[kept], high[kept], near[kept] = i, row[k], values[k]
                kept += 1
    return low[:kept].copy(), high[:kept].copy(), near[:kept].copy()


@compiled
def _once_of_both(offsets, neighbours, distances):
    """As `_once`, of a graph with both directions of every edge.

    Rows are sorted: while i rises, the other direction of i -> j is the next entry of row j that has not been met.
    """
    met = offsets[:-1].copy()
    low, high = np.empty(len(neighbours) // 2, neighbours.dtype), np.empty(len(neighbours) // 2, neighbours.dtype)
    near = np.empty(len(neighbours) // 2, np.float32)
    kept = 0
    for i in range(len(offsets) - 1):
        begin = kept
        for e in range(offsets[i], offsets[i + 1]):
            j = neighbours[e]
            if j > i:
                distance = min(distances[e], distances[met[j]])
                if kept > begin and high[kept - 1] == j:
                    near[kept - 1] = min(near[kept - 1], distance)
                else:
                    low[kept], high[kept], near[kept] = i, j, distance
                    kept += 1
            if j >= i:
                met[j] += 1
    return low[:kept].copy(), high[:kept].copy(), near[:kept].copy()


def _ranked(source: NDArray, target: NDArray, distances: NDArray[np.float32]) -> tuple[NDArray, NDArray]:
    """Ends in the order of their distances, which is kept among equal ones: by digits of 11 bits."""
    # Bits of floats rise with them once those of negative ones are turned; 0 and -0 are one number.
    bits = (distances + np.float32(0)).view(np.uint32)
    keys = bits ^ np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
    for digit in range(3):
        keys, source, target = _by_digit(keys, source, target, np.uint32(11 * digit))
    return source, target


@compiled
def _by_digit(keys, source, target, shift):
    starts = np.zeros((1 << 11) + 1, np.int64)
    for e in range(len(keys)):
        starts[((keys[e] >> shift) & np.uint32(2047)) + 1] += 1
    starts = np.cumsum(starts)
    moved, sources, targets = np.empty_like(keys), np.empty_like(source), np.empty_like(target)
    for e in range(len(keys)):
        digit = (keys[e] >> shift) & np.uint32(2047)
        at = starts[digit]
        starts[digit] = at + 1
        moved[at], sources[at], targets[at] = keys[e], source[e], target[e]
    return moved, sources, targets


@compiled
def _join(source, target, number):
    """(clusters,) new cluster of each; edges in the order of their rank, so that the first at an end is its best."""
    best = np.full(number, -1, np.int64)
    for e in range(len(source)):
        if best[source[e]] < 0:
            best[source[e]] = e
        if best[target[e]] < 0:
            best[target[e]] = e
    root = np.arange(number)
    for c in range(number):
        if best[c] >= 0:
            a, b = source[best[c]], target[best[c]]
            while root[a] != a:
                root[a] = root[root[a]]
                a = root[a]
            while root[b] != b:
                root[b] = root[root[b]]
                b = root[b]
            if a < b:
                root[b] = a
            else:
                root[a] = b
    parents = np.full(number, -1, np.int64)
    count = 0
    for c in range(number):
        a = c
        while root[a] != a:
            a = root[a]
        if parents[a] < 0:
            parents[a] = count
            count += 1
        parents[c] = parents[a]
    return parents


@compiled
def _outer(source, target, parents):
    """Edges between other clusters, by their new numbers, the order of ranks kept."""
    kept = 0
    for e in range(len(source)):
        a, b = parents[source[e]], parents[target[e]]
        if a != b:
            source[kept], target[kept] = a, b
            kept += 1
    return source[:kept], target[:kept]


@compiled
def _unlike_rows(offsets, neighbours):
    distances = np.empty(len(neighbours), np.float32)
    for i in range(len(offsets) - 1):
        for e in range(offsets[i], offsets[i + 1]):
            j = neighbours[e]
            short, long, shared = i, j, 0
            if offsets[i + 1] - offsets[i] > offsets[j + 1] - offsets[j]:
                short, long = j, i
            a, end = offsets[short], offsets[short + 1]
            b, last = offsets[long], offsets[long + 1]
            union = end - a + last - b
            if last - b > 16 * (end - a):
                # A hub's row is searched, not read.
                for k in range(a, end):
                    b += np.searchsorted(neighbours[b:last], neighbours[k])
                    if b < last and neighbours[b] == neighbours[k]:
                        shared += 1
                        b += 1
            else:
                while a < end and b < last:
                    shared += neighbours[a] == neighbours[b]
                    low = neighbours[a] <= neighbours[b]
                    b += neighbours[b] <= neighbours[a]
                    a += low
            union -= shared
            distances[e] = np.rint((1 - shared / max(union, 1)) * 1e6) / 1e6
    return distances


@compiled
def _unlike_features(offsets, neighbours, unit, both):
    """1 - cosine of the ends of every edge; with `both` directions there one of the two is computed."""
    distances = np.empty(len(neighbours), np.float32)
    met = offsets[:-1].copy()
    for i in range(len(offsets) - 1):
        for e in range(offsets[i], offsets[i + 1]):
            j = neighbours[e]
            if both and j < i:
                continue
            total = 0.0
            for c in range(unit.shape[1]):
                total += unit[i, c] * unit[j, c]
            distances[e] = np.rint((1 - total) * 1e6) / 1e6
            if both:
                distances[met[j]] = distances[e]
                met[j] += 1
    return distances
