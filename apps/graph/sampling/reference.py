"""The draws of `Neighbours` a node at a time in numpy: what the compiled loops are held to, number for number."""

__all__ = ["sample_reference"]

import numpy as np
from numpy.typing import NDArray

from apps.graph.compiled import GOLDEN, key_of, mixed, uniform_of

from .neighbours import Neighbours, Sampled


def sample_reference(
    sampler: Neighbours, seeds: NDArray[np.int64], key: int = 0, times: NDArray | None = None
) -> Sampled:
    """The same neighbourhood, slowly."""
    apart = sampler.disjoint or times is not None
    whole = key_of(sampler.seed, key)
    nodes = [(n if apart else 0, int(node)) for n, node in enumerate(seeds)]
    numbers = {node: n for n, node in enumerate(nodes)}
    offsets, columns, places = [0], [], []
    hop_nodes, hop_edges = [len(seeds)], []
    begin = 0
    for hop, fan in enumerate(sampler.fan_out):
        frontier, before = nodes[begin:], len(columns)
        begin = len(nodes)
        for tree, node in frontier:
            own = mixed(whole ^ mixed(np.asarray(tree + 1, np.uint64))) if apart else whole
            state = _state(mixed(np.asarray(own ^ np.uint64(hop))), node)
            bound = None if times is None else times[tree]
            for place in _chosen(sampler, node, fan, state, bound):
                source = tree, int(sampler.graph.neighbours[place])
                if source not in numbers:
                    numbers[source] = len(nodes)
                    nodes.append(source)
                columns.append(numbers[source])
                places.append(place)
            offsets.append(len(columns))
        hop_nodes.append(len(nodes) - begin)
        hop_edges.append(len(columns) - before)
    trees = np.array([tree for tree, _ in nodes], np.int64) if apart else None
    whole_numbers = (np.array(values, np.int64) for values in ([node for _, node in nodes], offsets, columns, places))
    return Sampled(*whole_numbers, tuple(hop_nodes), tuple(hop_edges), trees)


def _state(key: NDArray[np.uint64], node: int) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        return mixed(key ^ (np.asarray(node, np.uint64) * GOLDEN))


def _chosen(sampler: Neighbours, node: int, fan: int, state: NDArray[np.uint64], bound: int | None) -> list[int]:
    graph = sampler.graph
    edges = np.arange(graph.offsets[node], graph.offsets[node + 1])
    if sampler.weighted:
        edges = edges[graph.weights[edges] > 0]
    if bound is not None:
        edges = edges[graph.times[edges] <= bound]
    size = len(edges)
    if not size or fan < 0 or (fan >= size and not sampler.replace):
        return edges.tolist()
    weights = graph.weights[edges].astype(np.float64) if sampler.weighted else None
    if sampler.replace:
        drawn = uniform_of(state, np.arange(fan))
        if weights is None:
            return edges[(drawn * size).astype(np.int64)].tolist()
        sums = np.cumsum(weights)
        return edges[np.searchsorted(sums, drawn * sums[-1], side="right").clip(max=size - 1)].tolist()
    if weights is not None:
        waits = -np.log1p(-uniform_of(state, np.arange(size))) / weights
        return edges[np.argsort(waits, kind="stable")[:fan]].tolist()
    picks: list[int] = []
    for k in range(fan):
        top = size - fan + k
        drawn = int(uniform_of(state, k) * (top + 1))
        picks.append(top if drawn in picks else drawn)
    return edges[picks].tolist()
