"""Plans of one regular grid by views: roll, slice, reshape, permute, and back.

Each axis is a row of cuts; a cut of `outer * size * inner` tokens is read as (outer, size, inner), where the groups
are numbered by (outer, inner) and `size` are the slots of a group. Consecutive windows have inner 1, dilated ones
outer 1. The product of the cuts of all axes gives boxes, one bucket each: full windows, and partial ones at the
borders. Nine times faster than unfolding. `order` is the same as one permutation of all tokens, for attention that
wants every bucket in one piece of memory: one gather then rolls and cuts (a roll alone takes nine times as long).

A shifted axis is rolled first, so that what is left over at its two ends shares a window; the two must not meet, which
the bucket's `allowed` says. On small maps that mask has one entry a window, on large ones the windows at the seam are a
bucket of their own, since the others need none.
"""

__all__ = ["BoxPlan", "Cut"]

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from core.layout import coordinates
from core.partitions.plan import Bucket, IndexPlan, Pairs

# From so many entries on, a mask of every window is more than the calls it saves.
_MASK = 2**16


class Cut(NamedTuple):
    """A stretch of an axis: `outer * size * inner` tokens from `start`, groups by (outer, inner), slots by size."""

    start: int
    outer: int
    size: int
    inner: int

    @property
    def length(self) -> int:
        return self.outer * self.size * self.inner


class BoxPlan:
    """A plan whose queries and keys are the same grid, cut by boxes.

    Args:
        grid: sizes of the map.
        axes: one row of cuts an axis, which cover it without gap or overlap.
        rolls: how far each axis is rolled to the front before it is cut; 0 by default.
        raster: read the map as one axis, in raster order; `axes` then has one row.
        device: where the coordinates live.
    """

    def __init__(
        self,
        grid: tuple[int, ...],
        axes: Sequence[Sequence[Cut]],
        rolls: Sequence[int] = (),
        *,
        raster: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        self.grid = grid
        self.raster = raster
        lengths = [self.grid_size] if raster else list(grid)
        self.rolls = [roll % length for roll, length in zip(rolls or [0] * len(axes), lengths, strict=True)]
        self.seams = [length - roll if roll else 0 for length, roll in zip(lengths, self.rolls, strict=True)]
        self.axes = [list(row) for row in axes]
        if self._mask_size() > _MASK:
            self.axes = [_apart(row, seam) for row, seam in zip(self.axes, self.seams, strict=True)]
        self._boxes = list(product(*self.axes))
        places = self.split_queries(coordinates(grid, device=device)[None])
        self._buckets = []
        for box, place in zip(self._boxes, places, strict=True):
            shape = tuple(cut.size for cut in box)
            local = coordinates(shape, device=device).flatten(0, -2)[None]
            pairs = Pairs(local, local, place[0], place[0], grid)
            self._buckets.append(Bucket(pairs, self._allowed(box, device), shape))
        numbers = torch.arange(self.grid_size, device=device).view(1, *grid)
        self.places = [part.flatten() for part in self.split_queries(numbers)]
        self._set_order()

    @property
    def buckets(self) -> Sequence[Bucket]:
        return self._buckets

    def split_queries(self, x: Tensor) -> list[Tensor]:
        if self.raster:
            x = x.flatten(1, len(self.grid))
        rank = len(self.axes)
        if any(self.rolls):
            x = x.roll([-roll for roll in self.rolls], list(range(1, rank + 1)))
        parts = []
        for box in self._boxes:
            part = x
            for axis, cut in enumerate(box):
                part = part.narrow(axis + 1, cut.start, cut.length)
            part = part.reshape(len(x), *(n for cut in box for n in cut[1:]), *x.shape[rank + 1 :])
            part = part.permute(0, *_order(rank), *range(3 * rank + 1, part.ndim))
            parts.append(part.reshape(len(x), *_groups(box), *x.shape[rank + 1 :]))
        return parts

    def split_keys(self, x: Tensor) -> list[Tensor]:
        return self.split_queries(x)

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        rank = len(self.axes)
        back = [1 + i for i in sorted(range(3 * rank), key=lambda i: _order(rank)[i])]
        pieces = []
        for box, part in zip(self._boxes, parts, strict=True):
            shape = [n for cut in box for n in (cut.outer, cut.inner)] + [cut.size for cut in box]
            rest = part.shape[3:]
            part = part.reshape(len(part), *shape, *rest)
            part = part.permute(0, *back, *range(3 * rank + 1, part.ndim))
            pieces.append(part.reshape(len(part), *(cut.length for cut in box), *rest))
        for axis in range(rank, 0, -1):
            row = len(self.axes[axis - 1])
            pieces = [
                pieces[i] if row == 1 else torch.cat(pieces[i : i + row], dim=axis) for i in range(0, len(pieces), row)
            ]
        y = pieces[0]
        if any(self.rolls):
            y = y.roll(self.rolls, list(range(1, rank + 1)))
        return y.unflatten(1, self.grid) if self.raster else y

    def order(self, batch: int) -> tuple[Tensor, Tensor]:
        """The plan as a permutation of the rows of (B N, C), by bucket, sample, group and slot; and its inverse."""
        if batch == 1:
            return self._rows, self._slot
        samples = torch.arange(batch, device=self._rows.device)[:, None]
        rows = torch.cat([(samples * self.grid_size + places).flatten() for places in self.places])
        return rows, (samples * self._count + (batch - 1) * self._start + self._slot).flatten()

    def as_index(self) -> IndexPlan:
        """The same plan by index: the reference the views are tested against."""
        index = [places.view(-1, bucket.slots) for places, bucket in zip(self.places, self._buckets, strict=True)]
        return IndexPlan(self.grid, self.grid, index, index, self._buckets)

    @property
    def grid_size(self) -> int:
        """Number of tokens."""
        count = 1
        for length in self.grid:
            count *= length
        return count

    def _set_order(self) -> None:
        """The order of one sample, its inverse, and for each token where its bucket starts and how much it holds."""
        self._rows = torch.cat(self.places)
        self._slot = torch.argsort(self._rows)
        counts, starts, start = [], [], 0
        for places in self.places:
            counts.append(torch.full_like(places, len(places)))
            starts.append(torch.full_like(places, start))
            start += len(places)
        self._count = torch.cat(counts)[self._slot]
        self._start = torch.cat(starts)[self._slot]

    def _allowed(self, box: Sequence[Cut], device: torch.device | str | None) -> Tensor | None:
        """(G or 1, n, n) where a window of the box holds the seam of a rolled axis."""
        split = [_splits(cut, seam) for cut, seam in zip(box, self.seams, strict=True)]
        if not any(split):
            return None
        rank = len(box)
        side = torch.zeros((1,) * (3 * rank), dtype=torch.int64, device=device)
        for axis, (cut, seam) in enumerate(zip(box, self.seams, strict=True)):
            if split[axis]:
                place = torch.arange(cut.start, cut.start + cut.length, device=device)
                shape = [1] * (3 * rank)
                shape[3 * axis : 3 * axis + 3] = cut[1:]
                side = side + ((place >= seam).long() << axis).view(shape)
        # Groups that differ only along axes without a seam are alike.
        groups = [cut if own else Cut(0, 1, cut.size, 1) for cut, own in zip(box, split, strict=True)]
        side = side.expand([n for cut in groups for n in cut[1:]])
        side = side.permute([axis - 1 for axis in _order(rank)]).reshape(_groups(groups))
        if len(side) not in (1, _groups(box)[0]):
            side = self._spread(side, groups, box)
        return side[:, :, None] == side[:, None]

    @staticmethod
    def _spread(side: Tensor, groups: Sequence[Cut], box: Sequence[Cut]) -> Tensor:
        """Rows (G', n) of the groups that differ, for all groups (G, n) of the box."""
        own = [n for cut in groups for n in (cut.outer, cut.inner)]
        full = [n for cut in box for n in (cut.outer, cut.inner)]
        return side.view(*own, -1).expand(*full, -1).flatten(0, -2)

    def _mask_size(self) -> int:
        """Entries of the masks of all boxes, as they are cut now."""
        total = 0
        for box in product(*self.axes):
            if any(_splits(cut, seam) for cut, seam in zip(box, self.seams, strict=True)):
                groups, slots = _groups(box)
                total += groups * slots * slots
        return total


def _splits(cut: Cut, seam: int) -> bool:
    """Whether the seam falls inside a group of the cut."""
    return bool(seam) and cut.start < seam < cut.start + cut.length and bool((seam - cut.start) % cut.size)


def _apart(row: Sequence[Cut], seam: int) -> list[Cut]:
    """The row with the last window of each run by itself where it holds the seam."""
    cuts = []
    for cut in row:
        if _splits(cut, seam) and cut.outer > 1:
            cuts += [cut._replace(outer=cut.outer - 1), cut._replace(start=cut.start + cut.length - cut.size, outer=1)]
        else:
            cuts.append(cut)
    return cuts


def _order(rank: int) -> list[int]:
    """Axes of (outer, size, inner) a grid axis -> all (outer, inner) first, then the sizes; numbered from 1."""
    groups = [1 + 3 * axis + part for axis in range(rank) for part in (0, 2)]
    return groups + [2 + 3 * axis for axis in range(rank)]


def _groups(box: Sequence[Cut]) -> tuple[int, int]:
    groups = slots = 1
    for cut in box:
        groups *= cut.outer * cut.inner
        slots *= cut.size
    return groups, slots
