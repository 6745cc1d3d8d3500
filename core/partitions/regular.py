"""Partitions of regular grids.

    Whole                     all with all (also two different grids)
    Windows(window, shift)    consecutive boxes; Swin, DaViT, HAT; stripes with None for a whole axis (CSWin)
    Overlapping(window, ...)  windows whose keys reach further than their queries; HAT, block-local sequences
    Axis(axis)                rows or columns; axial attention, RMT, STTN
    Strided(window, interval) dilated windows inside super-cells; CrossFormer's long-distance attention
    Spread(slots)             slots spread evenly over the whole axis; MaxViT's grid
    Chunks(size)              runs of the raster order; SReT, block-local sequences

Decided: a size that does not divide gives smaller groups at the borders, never padding, which is exact and wastes
next to nothing. Shifted windows are windows that start at the shift, which are the groups that a roll with a region
mask gives. An axis not longer than its window is one window without shift.
"""

__all__ = ["Axis", "Chunks", "Overlapping", "Spread", "Strided", "Whole", "Windows"]

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch

from core.layout import coordinates
from core.partitions.base import AxisGroup, Partition, own_group
from core.partitions.boxes import BoxPlan, Cut
from core.partitions.plan import Bucket, IndexPlan, Pairs, Plan


@dataclass(frozen=True)
class Whole(Partition):
    """One group of all tokens; the two grids may differ in size and rank."""

    def cuts(self, axis: int, length: int) -> list[Cut]:
        return [Cut(0, 1, length, 1)]

    def build(self, query_grid: tuple[int, ...], key_grid: tuple[int, ...], device: torch.device) -> Plan:
        if query_grid == key_grid:
            return super().build(query_grid, key_grid, device)
        # Equal ranks share the query grid's frame; of different ranks, each has its own.
        frame = query_grid if len(query_grid) == len(key_grid) else None
        own = coordinates(query_grid, device=device).flatten(0, -2)[None]
        other = coordinates(key_grid, frame=frame, device=device).flatten(0, -2)[None]
        queries = torch.arange(own.shape[1], device=device)[None]
        keys = torch.arange(other.shape[1], device=device)[None]
        bucket = Bucket(Pairs(own, other, own, other, query_grid), None, query_grid)
        return IndexPlan(query_grid, key_grid, [queries], [keys], [bucket])


@dataclass(frozen=True)
class Windows(Partition):
    """Consecutive windows.

    With another key grid a key belongs to the window its centre falls into, in the query grid's frame.

    Args:
        window: window size an axis; None = the whole axis (stripes).
        shift: where the first full window starts, an axis; 0 by default. The tokens before it form a window.
        shift_single: shift also an axis that fits into one window, as Swin's dense-prediction code does.
    """

    window: tuple[int | None, ...]
    shift: tuple[int, ...] = ()
    shift_single: bool = False

    def __post_init__(self) -> None:
        if self.shift and len(self.shift) != len(self.window):
            raise ValueError(f"Windows: shift {self.shift} for window {self.window}; give one number an axis")
        for size, shift in zip(self.window, self.shift or (0,) * len(self.window), strict=True):
            if shift < 0 or (size is not None and (size < 1 or shift >= size)):
                raise ValueError(
                    f"Windows: window {self.window} with shift {self.shift}; give windows >= 1 and 0 <= shift < window"
                )

    def check(self, rank: int) -> None:
        if len(self.window) != rank:
            raise ValueError(
                f"Windows: window {self.window} for a grid of rank {rank}; give one window size a grid axis"
            )

    def roll(self, axis: int, length: int) -> int:
        runs = self._runs(axis, length)
        return runs[0][1] if len(runs) > 1 and runs[0][2] < (self.window[axis] or length) else 0

    def cuts(self, axis: int, length: int) -> list[Cut]:
        runs = self._runs(axis, length)
        head = self.roll(axis, length)
        if not head:
            return [Cut(a, (b - a) // size, size, 1) for a, b, size in runs]
        # The head follows the tail after rolling: they share a window where they fit into one.
        window = self.window[axis] or length
        body, end = (length - head) // window * window, length - head
        last = [Cut(body, 1, length - body, 1)]
        if length - body > window:
            last = [Cut(body, 1, end - body, 1), Cut(end, 1, head, 1)]
        if length - body == window:
            return [Cut(0, length // window, window, 1)]
        return [Cut(0, body // window, window, 1), *last] if body else last

    def groups(self, axis: int, queries: int, keys: int) -> list[AxisGroup]:
        scale = queries / keys if keys else 1.0
        places = [float(j) if keys == queries else (j + 0.5) * scale - 0.5 for j in range(keys)]
        groups = []
        for a, b, size in self._runs(axis, queries):
            for start in range(a, b, size):
                # Half-open in pixel borders, so that every key has exactly one window.
                inside = [j for j, place in enumerate(places) if start - 0.5 <= place < start + size - 0.5]
                own = range(start, start + size)
                groups.append(AxisGroup(own, inside, _from(own, start), _from([places[j] for j in inside], start)))
        return groups

    def _runs(self, axis: int, length: int) -> list[tuple[int, int, int]]:
        """(start, end, size) of the head, the full windows and the tail, as far as they exist."""
        window = self.window[axis] or length
        shift = self.shift[axis] if self.shift else 0
        if length <= window and not self.shift_single:
            shift = 0
        head = min(shift, length)
        body = head + (length - head) // window * window
        runs = [(0, head, head), (head, body, window), (body, length, length - body)]
        return [run for run in runs if run[1] > run[0]]


@dataclass(frozen=True)
class Overlapping(Partition):
    """Windows whose queries lie side by side while their keys reach over the borders, cut off at the map's edge.

    Args:
        window: query window an axis.
        before: how many tokens earlier the keys start, an axis.
        after: how many tokens later they end, an axis.
        beyond: keys reach over the map's edge too, into empty slots that count as keys of zeros (HAT's release).
    """

    window: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    beyond: bool = False

    def check(self, rank: int) -> None:
        if not len(self.window) == len(self.before) == len(self.after) == rank:
            raise ValueError(
                f"Overlapping: window {self.window}, before {self.before}, after {self.after} for a grid of rank "
                f"{rank}; give one number a grid axis"
            )

    def groups(self, axis: int, queries: int, keys: int) -> list[AxisGroup]:
        if queries != keys:
            return super().groups(axis, queries, keys)
        groups = []
        for start in range(0, queries, self.window[axis]):
            own = range(start, min(start + self.window[axis], queries))
            reached = range(start - self.before[axis], own.stop + self.after[axis])
            seen = [j if 0 <= j < queries else -1 for j in reached]
            if not self.beyond:
                reached = range(max(reached.start, 0), min(reached.stop, queries))
                seen = list(reached)
            groups.append(AxisGroup(own, seen, _from(own, start), _from(reached, start)))
        return groups


@dataclass(frozen=True)
class Axis(Partition):
    """Attention along one axis, every other axis apart.

    Args:
        axis: number of the grid axis, from the front or, negative, from the back.
    """

    axis: int

    def check(self, rank: int) -> None:
        if not -rank <= self.axis < rank:
            raise ValueError(f"Axis: axis {self.axis} for a grid of rank {rank}; give one from {-rank} to {rank - 1}")

    def fitted(self, rank: int) -> "Axis":
        self.check(rank)
        return self if self.axis >= 0 else Axis(self.axis + rank)

    def cuts(self, axis: int, length: int) -> list[Cut]:
        return [Cut(0, 1, length, 1) if axis == self.axis else Cut(0, length, 1, 1)]


@dataclass(frozen=True)
class Strided(Partition):
    """Windows of `window` tokens an axis that lie `interval` apart, inside super-cells of window * interval.

    Local coordinates count in intervals.
    """

    window: tuple[int, ...]
    interval: tuple[int, ...]

    def check(self, rank: int) -> None:
        if not len(self.window) == len(self.interval) == rank:
            raise ValueError(
                f"Strided: window {self.window}, interval {self.interval} for a grid of rank {rank}; "
                "give one number a grid axis"
            )

    def cuts(self, axis: int, length: int) -> list[Cut] | None:
        window, interval = self.window[axis], self.interval[axis]
        cell = window * interval
        return None if length % cell else [Cut(0, length // cell, window, interval)]

    def groups(self, axis: int, queries: int, keys: int) -> list[AxisGroup]:
        if queries != keys:
            return super().groups(axis, queries, keys)
        return _strided(queries, self.window[axis], self.interval[axis])


@dataclass(frozen=True)
class Spread(Partition):
    """`slots` tokens a group and axis, spread over the whole map: interval ceil(length / slots).

    The interval depends on the extent of the map, so no mixer on it is independent of padding.
    """

    slots: tuple[int, ...]

    def check(self, rank: int) -> None:
        if len(self.slots) != rank:
            raise ValueError(f"Spread: slots {self.slots} for a grid of rank {rank}; give one number a grid axis")

    def cuts(self, axis: int, length: int) -> list[Cut] | None:
        slots = self.slots[axis]
        return None if length % slots else [Cut(0, 1, slots, length // slots)]

    def groups(self, axis: int, queries: int, keys: int) -> list[AxisGroup]:
        if queries != keys:
            return super().groups(axis, queries, keys)
        return _strided(queries, self.slots[axis], -(-queries // self.slots[axis]))


@dataclass(frozen=True)
class Chunks(Partition):
    """Runs of `size` tokens of the raster order, on a grid of any rank; the last may be shorter."""

    size: int

    def build(self, query_grid: tuple[int, ...], key_grid: tuple[int, ...], device: torch.device) -> Plan:
        if query_grid != key_grid:
            raise ValueError(f"Chunks: query grid {query_grid} and key grid {key_grid} differ; use Whole or Windows")
        count = prod(query_grid)
        return BoxPlan(query_grid, [Windows((self.size,)).cuts(0, count)], raster=True, device=device)


def _strided(length: int, window: int, interval: int) -> list[AxisGroup]:
    cell = window * interval
    starts = [s + r for s in range(0, length, cell) for r in range(min(interval, length - s))]
    return [own_group(range(s, min(s - s % cell + cell, length), interval)) for s in starts]


def _from(places: Sequence[float], start: int) -> tuple[float, ...]:
    return tuple(float(p - start) for p in places)
