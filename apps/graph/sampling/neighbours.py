"""Neighbours of neighbours, drawn: what a network of L layers needs to see of the graph around some nodes (Hamilton et
al. 2017, "Inductive representation learning on large graphs").

Hop h draws up to `fan_out[h]` edges into every node that hop h - 1 has added. Nodes are numbered as they are met, the
seeds first; the edges into a node stand together in that order, so a batch comes out as compressed rows and the rows of
an earlier layer are a prefix of them.

What is drawn is a function of (seed, key of the batch, node), never of threads, workers or earlier batches. Without
replacement, each set of edges is equally likely; by weight, edges are drawn one after the other in proportion to the
weights that are left. In time, an edge is seen from a seed if it is not later than the seed; every seed then has a tree
of its own, since a node may look different from two of them.
"""

__all__ = ["Neighbours", "Sampled"]

import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apps.graph.compiled import key_of, mixed
from apps.graph.data.graph import Graph

from . import kernels


class Sampled(NamedTuple):
    """Part of a graph: n nodes, e edges.

    Attributes:
        nodes: (n,) int64 ids in the whole graph, the S seeds first and in order.
        offsets: (r + 1,) int64, edges into the first r nodes; later ones have been reached but not expanded.
        columns: (e,) int64, sources as positions in `nodes`.
        places: (e,) int64, positions of the edges in the graph.
        hop_nodes: nodes that each hop added, the seeds before the first.
        hop_edges: edges that each hop drew.
        trees: (n,) int64 the seed that each node belongs to, or None where trees are shared.
    """

    nodes: NDArray[np.int64]
    offsets: NDArray[np.int64]
    columns: NDArray[np.int64]
    places: NDArray[np.int64]
    hop_nodes: tuple[int, ...]
    hop_edges: tuple[int, ...]
    trees: NDArray[np.int64] | None = None


class Neighbours:
    """Draws neighbourhoods.

    Args:
        graph: of any origin; it is checked here, once.
        fan_out: edges into a node of each hop; -1 takes all.
        replace: draw with replacement.
        weighted: in proportion to the graph's weights; edges of weight 0 are never seen.
        disjoint: a tree of its own for every seed; always so with times.
        seed: of the draws.

    Raises:
        ValueError: weights are asked for and the graph has none, or a fan-out is below -1.
    """

    def __init__(
        self,
        graph: Graph,
        fan_out: tuple[int, ...],
        replace: bool = False,
        weighted: bool = False,
        disjoint: bool = False,
        seed: int = 0,
    ):
        if weighted and graph.weights is None:
            raise ValueError("Neighbours: weighted draws need a graph with weights; give them to Graph.of.")
        if any(fan < -1 for fan in fan_out):
            raise ValueError(f"Neighbours: fan_out {fan_out} must be -1 (all) or not negative at every hop.")
        graph.check()
        self.graph, self.fan_out, self.replace, self.seed = graph, tuple(fan_out), replace, seed
        self.weighted, self.disjoint = weighted, disjoint
        # A place for every node of the graph, of each thread and not of a process that was forked from this one.
        self._own = threading.local()

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "_own"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._own = threading.local()

    def slots(self) -> NDArray[np.int32]:
        """(N,) numbers of nodes in the batch that is being made; all -1 between two."""
        if not hasattr(self._own, "slots"):
            self._own.slots = np.full(self.graph.nodes, -1, np.int32)
        return self._own.slots

    def sample(self, seeds: NDArray[np.int64], key: int = 0, times: NDArray | None = None) -> Sampled:
        """The neighbourhood of some nodes.

        Args:
            seeds: (S,) different ids.
            key: of the batch.
            times: (S,) of the seeds, where edges have times: later edges are not seen.

        Raises:
            IndexError: an id out of range.
            ValueError: an id twice in shared trees, or times without times of edges or the reverse.
        """
        seeds = check_ids(seeds, self.graph.nodes, "seed")
        if times is not None and (self.graph.times is None or len(times) != len(seeds)):
            raise ValueError(
                f"Neighbours: {len(times)} times for {len(seeds)} seeds; give one each, and times of edges."
            )
        if self.disjoint or times is not None:
            return self._trees(seeds, key, times)
        return self._shared(seeds, key)

    def _shared(self, seeds: NDArray[np.int64], key: int) -> Sampled:
        slots = self.slots()
        nodes, number = seeds.copy(), len(seeds)
        twice = kernels.seed(seeds, slots)
        if twice >= 0:
            raise ValueError(f"Neighbours: node {seeds[twice]} is a seed twice; give each once.")
        keys = np.array([key_of(self.seed, key)])
        hops: list[_Hop] = []
        begin = 0
        try:
            for hop, fan in enumerate(self.fan_out):
                frontier = nodes[begin:number]
                ends, places = self._draw(frontier, fan, _of_hop(keys, hop), None)
                nodes = _grown(nodes, number, number + len(places))
                columns = np.empty(len(places), np.int64)
                begin, number = number, kernels.add_nodes(self.graph.neighbours, places, nodes, number, slots, columns)
                hops.append(_Hop(ends, places, columns, number - begin))
        finally:
            kernels.release(nodes[:number], slots)
        return _joined(nodes[:number], len(seeds), hops, None)

    def _trees(self, seeds: NDArray[np.int64], key: int, times: NDArray | None) -> Sampled:
        nodes, trees, number = seeds.copy(), np.arange(len(seeds)), len(seeds)
        each = mixed(key_of(self.seed, key) ^ mixed(np.arange(1, len(seeds) + 1).astype(np.uint64)))
        hops: list[_Hop] = []
        begin = 0
        for hop, fan in enumerate(self.fan_out):
            own = trees[begin:number]
            bounds = None if times is None else np.asarray(times)[own]
            ends, places = self._draw(nodes[begin:number], fan, _of_hop(each[own], hop), bounds)
            room = number + len(places)
            nodes, trees = _grown(nodes, number, room), _grown(trees, number, room)
            table = np.full(1 << max(4, (2 * room).bit_length()), -1, np.int64)
            kernels.enter(nodes[:number], trees[:number], table)
            columns = np.empty(len(places), np.int64)
            own = trees[begin:number].copy()
            begin, number = (
                number,
                kernels.relabel_trees(self.graph.neighbours, places, ends, own, nodes, trees, number, table, columns),
            )
            hops.append(_Hop(ends, places, columns, number - begin))
        return _joined(nodes[:number], len(seeds), hops, trees[:number])

    def _draw(
        self, frontier: NDArray[np.int64], fan: int, keys: NDArray[np.uint64], bounds: NDArray | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ends (frontier + 1,) and places of the edges drawn."""
        graph, replace = self.graph, self.replace and fan >= 0
        ends = np.empty(len(frontier) + 1, np.int64)
        if not self.weighted and bounds is None:
            kernels.count(graph.offsets, frontier, fan, replace, ends)
            places = np.empty(ends[-1], np.int64)
            kernels.choose(graph.offsets, frontier, keys, replace, ends, places)
            return ends, places
        weights = graph.weights if self.weighted and graph.weights is not None else np.empty(0, np.float32)
        times = np.empty(0, np.int64) if bounds is None or graph.times is None else graph.times
        bounds = np.empty(0, np.int64) if bounds is None else bounds
        kernels.count_candidates(graph.offsets, weights, times, bounds, frontier, fan, replace, ends)
        places = np.empty(ends[-1], np.int64)
        kernels.choose_candidates(graph.offsets, weights, times, bounds, frontier, keys, replace, ends, places)
        return ends, places


class _Hop(NamedTuple):
    ends: NDArray[np.int64]
    places: NDArray[np.int64]
    columns: NDArray[np.int64]
    added: int


def _joined(nodes: NDArray, seeds: int, hops: list[_Hop], trees: NDArray | None) -> Sampled:
    drawn = [len(hop.places) for hop in hops]
    starts = np.concatenate([[0], np.cumsum(drawn)]).astype(np.int64)
    offsets = [np.zeros(1, np.int64), *(hop.ends[1:] + start for hop, start in zip(hops, starts, strict=False))]
    empty = [np.empty(0, np.int64)]
    return Sampled(
        nodes,
        np.concatenate(offsets),
        np.concatenate(empty + [hop.columns for hop in hops]),
        np.concatenate(empty + [hop.places for hop in hops]),
        (seeds, *(hop.added for hop in hops)),
        tuple(drawn),
        trees,
    )


def _of_hop(keys: NDArray[np.uint64], hop: int) -> NDArray[np.uint64]:
    return mixed(keys ^ np.uint64(hop))


def _grown(values: NDArray[np.int64], number: int, room: int) -> NDArray[np.int64]:
    """The first `number` of values, with room behind them."""
    grown = np.empty(room, np.int64)
    grown[:number] = values[:number]
    return grown


def check_ids(ids: NDArray, nodes: int, what: str) -> NDArray[np.int64]:
    """(S,) int64.

    Raises:
        IndexError: one is out of range; names the first.
    """
    ids = np.ascontiguousarray(ids, np.int64)
    if ids.size and (ids.min() < 0 or ids.max() >= nodes):
        at = int(np.nonzero((ids < 0) | (ids >= nodes))[0][0])
        raise IndexError(f"{what} {at} is node {ids[at]}; ids must be in 0 .. {nodes - 1}.")
    return ids
