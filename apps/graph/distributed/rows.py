"""Rows of nodes that other processes hold, by plain torch.distributed: ids go out, rows come back, all to all.

Every call of `exchange` and of `ShardedRows.fetch` is one of all processes: each makes as many, with ids or without.
"""

__all__ = ["ShardedRows", "exchange", "hot_nodes"]

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from apps.graph.sampling.neighbours import check_ids

from .shards import Shard


def exchange(parts: list[NDArray]) -> list[NDArray]:
    """Part p goes to process p; what comes back is from each, in order.

    Args:
        parts: arrays of one type whose rows are alike, one a process.
    """
    if len(parts) == 1:
        return parts
    sizes = torch.tensor([len(part) for part in parts])
    others = torch.empty_like(sizes)
    dist.all_to_all_single(others, sizes)
    sent = torch.from_numpy(np.ascontiguousarray(np.concatenate(parts)))
    got = sent.new_empty(int(others.sum()), *sent.shape[1:])
    dist.all_to_all_single(got, sent, others.tolist(), sizes.tolist())
    return np.split(got.numpy(), np.cumsum(others.numpy())[:-1])


def hot_nodes(shard: Shard, count: int) -> NDArray[np.int64]:
    """(at most count,) rising ids of other ranges that most edges of this one come from."""
    often = np.bincount(shard.neighbours, minlength=shard.nodes)
    often[shard.first : shard.bounds[shard.rank + 1]] = 0
    found = np.argsort(often, kind="stable")[::-1][:count]
    return np.sort(found[often[found] > 0])


class ShardedRows:
    """An array with a row for every node, in ranges.

    Args:
        shard: of this process.
        rows: (n, ...) of its nodes.
        hot: ids whose rows are fetched once and kept.
    """

    def __init__(self, shard: Shard, rows: NDArray, hot: NDArray[np.int64] | None = None) -> None:
        self.shard, self.rows = shard, rows
        self.hot, self.kept = np.zeros(0, np.int64), rows[:0]
        if hot is not None:
            self.kept, self.hot = self.fetch(hot), hot

    def fetch(self, ids: NDArray[np.int64]) -> NDArray:
        """(m, ...) rows of any nodes; a call of all processes.

        Raises:
            IndexError: an id out of range.
        """
        ids = check_ids(ids, self.shard.nodes, "row")
        made = np.empty((len(ids), *self.rows.shape[1:]), self.rows.dtype)
        own, kept, asked = split(self.shard, ids, self.hot)
        made[own] = self.rows[ids[own] - self.shard.first]
        made[kept] = self.kept[np.searchsorted(self.hot, ids[kept])]
        wanted = exchange([ids[places] for places in asked])
        answers = exchange([self.rows[others - self.shard.first] for others in wanted])
        for places, answer in zip(asked, answers, strict=True):
            made[places] = answer
        return made


def split(
    shard: Shard, ids: NDArray[np.int64], hot: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[NDArray[np.int64]]]:
    """Places of ids of this range, of those that are kept, and of those to ask each process for."""
    owner = shard.owner(ids)
    own = owner == shard.rank
    kept = np.zeros(len(ids), bool)
    if len(hot):
        kept = ~own & (hot[np.searchsorted(hot, ids).clip(max=len(hot) - 1)] == ids)
    owner[own | kept] = -1
    asked = [np.nonzero(owner == rank)[0] for rank in range(shard.ranges)]
    return np.nonzero(own)[0], np.nonzero(kept)[0], asked
