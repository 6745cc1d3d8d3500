"""A plan: groups of queries and keys that meet, sorted into buckets of one shape; the index form.

Published partitions (windows, stripes, axes, dilated grids, overlapping windows, ragged windows) differ only in which
query tokens meet which key tokens, so a plan answers for a pair of layouts. A bucket holds G groups of n query slots
and m key slots. A regular grid has one bucket, or one for each shape that partial groups at the borders take, so
nothing is padded there; ragged sets have a few buckets by size with empty slots.

`IndexPlan` gathers by index and is the reference; `core.partitions.boxes.BoxPlan` does the same by views.
"""

__all__ = ["Bucket", "IndexPlan", "Pairs", "Plan"]

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

Derived = TypeVar("Derived")


class Pairs:
    """Coordinates of the queries and keys of a bucket, in both systems a position may read.

    Attributes:
        queries: (G or 1, n, D) local coordinates, in the partition's own unit.
        keys: (G or 1, m, D) likewise, with the same origin.
        map_queries: (G or 1, n, D) coordinates on the whole map, in the query grid's frame.
        map_keys: (G or 1, m, D) likewise.
        extent: size of the query map, or None for ragged sets.
    """

    def __init__(
        self,
        queries: Tensor,
        keys: Tensor,
        map_queries: Tensor,
        map_keys: Tensor,
        extent: tuple[int, ...] | None = None,
    ) -> None:
        self.queries = queries
        self.keys = keys
        self.map_queries = map_queries
        self.map_keys = map_keys
        self.extent = extent
        self._derived: dict[Hashable, Any] = {}

    def derived(self, key: Hashable, make: Callable[["Pairs"], Derived]) -> Derived:
        """What a position computes from coordinates alone (row numbers of a table, say), kept with the plan.

        Args:
            key: what the result depends on besides the coordinates.
            make: computes it; called once a key, outside inference mode so that training may use the result.
        """
        if key not in self._derived:
            with torch.inference_mode(False), torch.no_grad():
                self._derived[key] = make(self)
        return self._derived[key]


class Bucket(NamedTuple):
    """Groups of one shape.

    Attributes:
        pairs: coordinates of the slots.
        allowed: (G or 1, n or 1, m) boolean, False where a key slot is empty or may not be seen; None = all may, and
            an empty slot is a key of zeros.
        shape: grid shape of the n query slots, each of which has a key then; None where they are a set without order,
            some of them perhaps empty. Slots that may not see each
            other are no neighbours, although the shape puts them side by side.
    """

    pairs: Pairs
    allowed: Tensor | None
    shape: tuple[int, ...] | None

    @property
    def slots(self) -> int:
        """Number n of query slots."""
        return self.pairs.queries.shape[1]


class Plan(Protocol):
    """What both forms of a plan can do. `rest` stands for any further axes (heads, width)."""

    @property
    def buckets(self) -> Sequence[Bucket]:
        """One entry a group shape, in the order of `split_queries`."""

    def split_queries(self, x: Tensor) -> list[Tensor]:
        """(B, *query grid, *rest) -> one (B, G, n, *rest) a bucket; empty slots are 0."""

    def split_keys(self, x: Tensor) -> list[Tensor]:
        """(B, *key grid, *rest) -> one (B, G, m, *rest) a bucket; empty slots are 0 (False)."""

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Inverse of `split_queries`; the mean where a token sits in several groups, 0 where in none."""


class IndexPlan:
    """A plan held as token numbers.

    Args:
        query_grid: sizes of the query map.
        key_grid: sizes of the key map.
        queries: one (G, n) int64 tensor a bucket: raster numbers of tokens, -1 marks an empty slot.
        keys: one (G, m) a bucket, likewise.
        buckets: coordinates, allowed pairs and shapes.
        once: whether every query token sits in exactly one group (then joining is a plain gather).
        holes: whether any slot is empty.
    """

    def __init__(
        self,
        query_grid: tuple[int, ...],
        key_grid: tuple[int, ...],
        queries: Sequence[Tensor],
        keys: Sequence[Tensor],
        buckets: Sequence[Bucket],
        *,
        once: bool = True,
        holes: bool = False,
    ) -> None:
        self.query_grid = query_grid
        self.key_grid = key_grid
        self.queries = list(queries)
        self.keys = list(keys)
        self._buckets = list(buckets)
        self._holes = holes
        self._places = torch.cat([i.flatten() for i in self.queries])
        self._once = once
        if once:
            # Slot of each token: slots sorted by token number, the empty ones (-1) in front.
            self._inverse = self._places.argsort(stable=True)[(len(self._places) - _count(query_grid)) :]

    @property
    def buckets(self) -> Sequence[Bucket]:
        return self._buckets

    def split_queries(self, x: Tensor) -> list[Tensor]:
        return self._split(x, len(self.query_grid), self.queries)

    def split_keys(self, x: Tensor) -> list[Tensor]:
        return self._split(x, len(self.key_grid), self.keys)

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        y = torch.cat([p.flatten(1, 2) for p in parts], dim=1)
        if self._once:
            y = y.index_select(1, self._inverse)
        else:
            real = self._places >= 0
            places = self._places.clamp(min=0)
            weight = real.to(y.dtype)
            visits = weight.new_zeros(_count(self.query_grid)).index_add(0, places, weight)
            weight = (weight / visits.clamp(min=1)[places]).view(1, -1, *(1,) * (y.ndim - 2))
            y = y.new_zeros(len(y), len(visits), *y.shape[2:]).index_add(1, places, y * weight)
        return y.unflatten(1, self.query_grid)

    def _split(self, x: Tensor, rank: int, index: Sequence[Tensor]) -> list[Tensor]:
        x = x.flatten(1, rank)
        count = x.shape[1]
        if self._holes:
            # Empty slots read a row of zeros behind the tokens: what stands in for them may not be NaN, since
            # 0 * NaN is NaN. Three times faster than gathering and filling.
            x = torch.cat([x, x.new_zeros(len(x), 1, *x.shape[2:])], dim=1)
            index = [torch.where(places < 0, count, places) for places in index]
        return [x.index_select(1, places.flatten()).unflatten(1, places.shape) for places in index]


def _count(grid: Sequence[int]) -> int:
    count = 1
    for length in grid:
        count *= length
    return count
