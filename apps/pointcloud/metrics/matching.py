"""What the protocols share: which pairs of two sets lie in one frame, and turns that go through all frames at once.

The objects of all frames stand one behind the other. Greedy matching is a loop over the objects of a frame, but frames
do not see each other: turn r takes the r-th object of every frame, so that a loop has as many turns as the fullest
frame has objects, not as many as there are objects.
"""

__all__ = ["cumulative", "envelope", "frame_numbers", "frame_pairs", "table", "turns"]

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def frame_numbers(counts: list[int]) -> Ints:
    """(N,) frame of each object."""
    return np.repeat(np.arange(len(counts)), counts)


def frame_pairs(first: list[int], second: list[int]) -> tuple[Ints, Ints]:
    """(P,), (P,): all pairs of objects of one frame, in the order of the first set and then of the second.

    Args:
        first, second: objects in each frame.
    """
    a, b = np.asarray(first, np.int64), np.asarray(second, np.int64)
    partners = np.repeat(b, a)
    rows = np.repeat(np.arange(a.sum()), partners)
    starts = np.repeat(np.concatenate([[0], b.cumsum()])[:-1], a)
    within = np.arange(partners.sum()) - np.repeat(partners.cumsum() - partners, partners)
    return rows, np.repeat(starts, partners) + within


def table(rows: Ints, columns: Ints, empty: int) -> tuple[Ints, Ints, Ints]:
    """Pairs, sorted by row, as a rectangle.

    Returns:
        rows that occur (R,), their columns (R, K) filled up with `empty`, the number of the pair in each place (R, K)
        with -1 where there is none.
    """
    unique, starts, counts = np.unique(rows, return_index=True, return_counts=True)
    width = int(counts.max(initial=0))
    place = np.arange(width)
    number = np.where(place < counts[:, None], starts[:, None] + place, -1)
    padded = np.append(columns, empty)
    return unique, padded[number], number


def turns(frames: Ints) -> Iterator[Ints]:
    """Positions of the first entry of every frame, then of the second, and so on; `frames` (N,) in any order, each
    frame's entries being taken in their order."""
    if not len(frames):
        return
    order = np.argsort(frames, kind="stable")
    _, starts, counts = np.unique(frames[order], return_index=True, return_counts=True)
    rank = np.arange(len(frames)) - np.repeat(starts, counts)
    by_rank = np.argsort(rank, kind="stable")
    ends = np.bincount(rank).cumsum()
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        yield order[by_rank[start:end]]


def envelope(precision: Floats) -> Floats:
    """The highest precision at this recall or a higher one, along the last axis."""
    return np.maximum.accumulate(precision[..., ::-1], -1)[..., ::-1]


def cumulative(hits: NDArray[np.bool_], misses: NDArray[np.bool_], objects: int) -> tuple[Floats, Floats]:
    """Precision and recall after each detection, by falling score."""
    tp, fp = hits.cumsum().astype(np.float64), misses.cumsum().astype(np.float64)
    return tp / np.maximum(tp + fp, 1), tp / max(objects, 1)
