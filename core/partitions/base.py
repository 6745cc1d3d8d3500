"""What every partition of regular grids is: groups on each axis, and their product.

A subclass says for one axis which queries meet which keys (`groups`), and, where views can follow, how the axis is cut
(`cuts`, `roll`). The plan of a map is the product over its axes, one bucket for each combination of shapes.
"""

__all__ = ["AxisGroup", "Partition", "own_group"]

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import torch

from core.layout import coordinates
from core.partitions.boxes import BoxPlan, Cut
from core.partitions.plan import Bucket, IndexPlan, Pairs, Plan


class AxisGroup(NamedTuple):
    """One group on one axis: numbers of its queries and keys (-1 = an empty slot), and their local coordinates."""

    queries: Sequence[int]
    keys: Sequence[int]
    query_places: tuple[float, ...]
    key_places: tuple[float, ...]


@dataclass(frozen=True)
class Partition:
    """Base of the regular partitions: a plan is the product of what happens on each axis."""

    def plan(
        self,
        query_grid: tuple[int, ...],
        key_grid: tuple[int, ...] | None = None,
        device: torch.device | str | None = None,
    ) -> Plan:
        """The plan for queries on one grid and keys on another (default: the same), cached.

        Raises:
            ValueError: where the partition does not fit the grids' rank or cannot pair different grids.
        """
        key_grid = query_grid if key_grid is None else key_grid
        return _cached(self, tuple(query_grid), tuple(key_grid), torch.device("cpu" if device is None else device))

    def groups(self, axis: int, queries: int, keys: int) -> list[AxisGroup]:
        """The groups on one axis with `queries` and `keys` tokens. Default: those of `cuts`, for equal lengths."""
        if queries != keys:
            raise ValueError(
                f"{type(self).__name__}: {queries} queries and {keys} keys on axis {axis}; "
                "this partition pairs a grid with itself only, use Whole or Windows for two grids"
            )
        cuts = self.cuts(axis, queries)
        if cuts is None:
            raise NotImplementedError(f"{type(self).__name__} defines neither groups nor cuts")
        return [own_group(range(s, e, i)) for s, e, i in _strides(cuts)]

    def cuts(self, axis: int, length: int) -> list[Cut] | None:
        """The same for one grid as cuts that views can follow, or None where the size is irregular."""
        return None

    def roll(self, axis: int, length: int) -> int:
        """How far `cuts` wants the axis rolled to the front first."""
        return 0

    def check(self, rank: int) -> None:
        """Raises ValueError where the partition does not fit grids of this rank."""

    def fitted(self, rank: int) -> "Partition":
        """The partition to use on grids of this rank."""
        self.check(rank)
        return self

    def build(self, query_grid: tuple[int, ...], key_grid: tuple[int, ...], device: torch.device) -> Plan:
        """A fresh plan: by views where every axis allows it, by index otherwise."""
        if len(query_grid) != len(key_grid):
            raise ValueError(
                f"{type(self).__name__}: query grid {query_grid} and key grid {key_grid} differ in rank; "
                "only Whole pairs grids of different rank"
            )
        if query_grid == key_grid:
            rows = [self.cuts(axis, length) for axis, length in enumerate(query_grid)]
            whole = [row for row in rows if row is not None]
            if len(whole) == len(rows):
                rolls = [self.roll(axis, length) for axis, length in enumerate(query_grid)]
                return BoxPlan(query_grid, whole, rolls, device=device)
        return self.build_index(query_grid, key_grid, device)

    def build_index(self, query_grid: tuple[int, ...], key_grid: tuple[int, ...], device: torch.device) -> IndexPlan:
        """The plan by index, from `groups` alone."""
        sizes = zip(query_grid, key_grid, strict=True)
        return _product([self.groups(axis, q, k) for axis, (q, k) in enumerate(sizes)], query_grid, key_grid, device)


def own_group(tokens: range) -> AxisGroup:
    """A group that meets itself; local coordinates count its tokens."""
    places = tuple(float(i) for i in range(len(tokens)))
    return AxisGroup(tokens, tokens, places, places)


@lru_cache(maxsize=256)
def _cached(partition: Partition, query_grid: tuple[int, ...], key_grid: tuple[int, ...], device: torch.device) -> Plan:
    # A plan first asked for in inference mode must serve training as well.
    with torch.inference_mode(False), torch.no_grad():
        return partition.fitted(len(query_grid)).build(query_grid, key_grid, device)


def _product(
    axes: Sequence[Sequence[AxisGroup]], query_grid: tuple[int, ...], key_grid: tuple[int, ...], device: torch.device
) -> IndexPlan:
    """Groups of the map = products of groups of the axes; one bucket for each combination of shapes."""
    kinds: list[list[list[AxisGroup]]] = []
    for groups in axes:
        alike: dict[tuple, list[AxisGroup]] = {}
        for group in groups:
            if len(group.queries):
                alike.setdefault((group.query_places, group.key_places), []).append(group)
        kinds.append(list(alike.values()))
    map_q = coordinates(query_grid, device=device).flatten(0, -2)
    map_k = coordinates(key_grid, frame=query_grid, device=device).flatten(0, -2)
    queries, keys, buckets, holes = [], [], [], False
    for combination in product(*kinds):
        q = _numbers([[g.queries for g in groups] for groups in combination], query_grid).to(device)
        k = _numbers([[g.keys for g in groups] for groups in combination], key_grid).to(device)
        local_q = _mesh([groups[0].query_places for groups in combination]).to(device)
        local_k = _mesh([groups[0].key_places for groups in combination]).to(device)
        queries.append(q)
        keys.append(k)
        shape = tuple(len(groups[0].queries) for groups in combination)
        # Empty slots lie outside the map; only a partition that pairs a grid with itself has them.  They are read from
        # the lists, because a plan may be made while a graph is traced.
        empty = any(j < 0 for groups in combination for group in groups for j in group.keys)
        holes = holes or empty
        places = (map_q[q] - local_q)[:, :1] + local_k if empty else map_k[k]
        buckets.append(Bucket(Pairs(local_q, local_k, map_q[q], places, query_grid), None, shape))
    return IndexPlan(query_grid, key_grid, queries, keys, buckets, holes=holes)


def _numbers(axes: Sequence[Sequence[Sequence[int]]], grid: tuple[int, ...]) -> torch.Tensor:
    """Raster numbers (G, n) of the product of groups; each axis gives its groups' tokens, -1 where a slot is empty."""
    rank = len(axes)
    total = torch.zeros((1,) * (2 * rank), dtype=torch.int64)
    empty = torch.zeros((1,) * (2 * rank), dtype=torch.bool)
    stride = 1
    for axis in range(rank - 1, -1, -1):
        tokens = torch.tensor([list(group) for group in axes[axis]], dtype=torch.int64).view(len(axes[axis]), -1)
        shape = [1] * (2 * rank)
        shape[axis], shape[rank + axis] = tokens.shape
        total = total + stride * tokens.view(shape)
        empty = empty | (tokens < 0).view(shape)
        stride *= grid[axis]
    return total.masked_fill(empty, -1).flatten(rank).flatten(0, rank - 1)


def _mesh(places: Sequence[Sequence[float]]) -> torch.Tensor:
    """(1, n, D) coordinates of the product of the axes' places."""
    axes = [torch.tensor(p, dtype=torch.float32) for p in places]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)[None]


def _strides(cuts: Sequence[Cut]) -> list[tuple[int, int, int]]:
    """(start, end, step) of every group of a row of cuts."""
    rows = []
    for cut in cuts:
        for outer in range(cut.outer):
            first = cut.start + outer * cut.size * cut.inner
            rows += [(first + i, first + cut.size * cut.inner, cut.inner) for i in range(cut.inner)]
    return rows
