"""Neighbours of neighbours drawn from ranges of nodes: whoever holds a node draws its edges.

A draw is a function of (seed, key of the batch, hop, node), as in `apps.graph.sampling.neighbours`, so that a batch is
the same number for number wherever its nodes are.  Sampling is a call of all processes, each with seeds or without.
"""

__all__ = ["ShardedNeighbours", "turns"]

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from apps.graph.compiled import GOLDEN, compiled, key_of, mix, mixed, uniform
from apps.graph.sampling import kernels
from apps.graph.sampling.neighbours import Sampled, check_ids
from core.training.draws import generator

from .rows import exchange, split
from .shards import Shard


def turns(
    ids: NDArray[np.int64], size: int, shard: Shard, seed: int, epoch: int
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Number and nodes of the batches of one process in an epoch: every batch falls to one of them.

    All processes make as many steps: the last batches of some are empty.
    """
    order = generator(seed, 2**63 + epoch).permutation(ids)
    count = -(-len(order) // size)
    for step in range(-(-count // shard.ranges)):
        number = step * shard.ranges + shard.rank
        yield epoch * count + number, order[number * size : (number + 1) * size]


class ShardedNeighbours:
    """Draws neighbourhoods without weights.

    Args:
        shard: of this process.
        fan_out: edges into a node of each hop; -1 takes all.
        replace: draw with replacement.
        seed: of the draws.
        hot: ids whose edges are fetched once and kept (`hot_nodes`).
    """

    def __init__(
        self,
        shard: Shard,
        fan_out: tuple[int, ...],
        replace: bool = False,
        seed: int = 0,
        hot: NDArray[np.int64] | None = None,
    ) -> None:
        if any(fan < -1 for fan in fan_out):
            raise ValueError(f"ShardedNeighbours: fan_out {fan_out} must be -1 (all) or not negative at every hop.")
        self.shard, self.fan_out, self.replace, self.seed = shard, tuple(fan_out), replace, seed
        self.slots = np.full(shard.nodes, -1, np.int32)
        self.hot = np.zeros(0, np.int64)
        self.kept = np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0, shard.neighbours.dtype)
        if hot is not None:
            self.kept, self.hot = self._draw(hot, -1, np.uint64(0)), hot

    def sample(self, seeds: NDArray[np.int64], key: int = 0) -> Sampled:
        """The neighbourhood of some nodes, as `Neighbours.sample` gives it.

        Args:
            seeds: (S,) different ids of any range.
            key: of the batch.

        Raises:
            IndexError: an id out of range.
            ValueError: an id twice.
        """
        seeds = check_ids(seeds, self.shard.nodes, "seed")
        twice = kernels.seed(seeds, self.slots)
        if twice >= 0:
            raise ValueError(f"ShardedNeighbours: node {seeds[twice]} is a seed twice; give each once.")
        nodes, number, begin = seeds.copy(), len(seeds), 0
        whole, offsets, columns, places, added, drawn = key_of(self.seed, key), [0], [], [], [len(seeds)], []
        try:
            for hop, fan in enumerate(self.fan_out):
                ends, own, sources = self._draw(nodes[begin:number], fan, np.uint64(mixed(whole ^ np.uint64(hop))))
                nodes = np.concatenate([nodes[:number], np.empty(len(own), np.int64)])
                numbers = np.empty(len(own), np.int64)
                begin, before = number, number
                number = kernels.add_nodes(sources, np.arange(len(own)), nodes, number, self.slots, numbers)
                offsets.extend((ends[1:] + offsets[-1]).tolist())
                columns.append(numbers)
                places.append(own)
                added.append(number - before)
                drawn.append(len(own))
        finally:
            kernels.release(nodes[:number], self.slots)
        none = np.empty(0, np.int64)
        return Sampled(
            nodes[:number],
            np.array(offsets, np.int64),
            np.concatenate([none, *columns]),
            np.concatenate([none, *places]),
            tuple(added),
            tuple(drawn),
        )

    def _draw(
        self, ids: NDArray[np.int64], fan: int, key: np.uint64
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray]:
        """Ends (n + 1,), places in the whole graph and sources of edges of some nodes; a call of all processes."""
        shard = self.shard
        own, kept, asked = split(shard, ids, self.hot)
        keys = exchange([np.array([key]).view(np.int64)] * shard.ranges)
        wanted = exchange([ids[places] for places in asked])
        made = [self._local(others, fan, k.view(np.uint64)[0]) for others, k in zip(wanted, keys, strict=True)]
        sizes = exchange([ends[1:] - ends[:-1] for ends, _, _ in made])
        edges = exchange([np.stack([places, sources.astype(np.int64)], 1) for _, places, sources in made])
        groups = [(places, size, e[:, 0], e[:, 1]) for places, size, e in zip(asked, sizes, edges, strict=True)]
        for places, (ends, at, sources) in (
            (own, self._local(ids[own], fan, key)),
            (kept, self._cached(ids[kept], fan, key)),
        ):
            groups.append((places, np.diff(ends), at, sources))
        counts = np.zeros(len(ids), np.int64)
        for places, size, _, _ in groups:
            counts[places] = size
        ends = np.concatenate([[0], np.cumsum(counts)])
        whole = np.empty(ends[-1], np.int64), np.empty(ends[-1], shard.neighbours.dtype)
        for places, size, at, sources in groups:
            # Edges of a node stand together, and go to where the node's begin.
            begins = np.concatenate([[0], np.cumsum(size)])[:-1]
            to = np.repeat(ends[places] - begins, size) + np.arange(len(at))
            whole[0][to], whole[1][to] = at, sources
        return ends, *whole

    def _local(
        self, ids: NDArray[np.int64], fan: int, key: np.uint64
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray]:
        shard = self.shard
        ends, places = self._chosen(shard.offsets, ids - shard.first, ids, fan, key)
        return ends, places + shard.edges[shard.rank], shard.neighbours[places]

    def _cached(
        self, ids: NDArray[np.int64], fan: int, key: np.uint64
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray]:
        offsets, whole, sources = self.kept
        ends, places = self._chosen(offsets, np.searchsorted(self.hot, ids), ids, fan, key)
        return ends, whole[places], sources[places]

    def _chosen(
        self, offsets: NDArray[np.int64], rows: NDArray[np.int64], ids: NDArray[np.int64], fan: int, key: np.uint64
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        replace = self.replace and fan >= 0
        ends = np.empty(len(rows) + 1, np.int64)
        kernels.count(offsets, rows, fan, replace, ends)
        places = np.empty(ends[-1], np.int64)
        _choose(offsets, rows, ids, key, replace, ends, places)
        return ends, places


@compiled
def _choose(offsets, rows, ids, key, replace, ends, places):
    """`kernels.choose` of rows whose nodes have other ids."""
    for n in range(len(rows)):
        begin, at = offsets[rows[n]], ends[n]
        degree, take = offsets[rows[n] + 1] - begin, ends[n + 1] - at
        state = mix(key ^ (np.uint64(ids[n]) * GOLDEN))
        if replace:
            for k in range(take):
                places[at + k] = begin + np.int64(uniform(state, k) * degree)
        elif take == degree:
            for k in range(take):
                places[at + k] = begin + k
        else:
            kernels.floyd(state, degree, take, begin, places, at)
