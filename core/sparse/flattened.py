"""Groups of equal size along a curve through windows (FlatFormer, Liu et al., CVPR 2023, arXiv 2301.08739).

Sites of a plane are sorted window by window, and inside of a window line by line; both orders turn round at every
second line, like a plough. With windows of m x n places along the outer axis o and the inner axis i,
o = o1 m + o2, i = i1 n + i2:

    key = (I o1 +- i1) 4 m n +- (2 m i2 +- o2),    I = 2 (ceil(extent_i / n) + 1)

where the first two signs are those of (-1)^o1 and the last that of (-1)^i2. Every `size` sites of a sample in that
order are a group; a last group that is not full takes in the end of the group before it once more.

Decided: keys of different samples never meet (the release shifts them by a constant that is too small on small
grids), samples may be empty, and a sample of fewer sites than a group has one group with a mask (the release fills it
with sites of another sample, or fails).
"""

__all__ = ["Flattened", "Groups", "flattened", "groups"]

from typing import NamedTuple

import torch
from torch import Tensor

from core.sparse.tensor import Sites


class Groups(NamedTuple):
    """Rows of samples in groups of one size.

    Attributes:
        slots: (G, size) number of the sorted row in each place of a group.
        place: (N,) the place, counted over all groups, that stands for each sorted row.
        mask: (G, size) False where a place is empty, or None where none is.
    """

    slots: Tensor
    place: Tensor
    mask: Tensor | None


class Flattened(NamedTuple):
    """One order of the sites, cut into groups.

    Attributes:
        rows: (G, size) which site's row stands in each place.
        place: (N,) where the result of each site's row is found among the G * size places.
        mask: as of `Groups`.
    """

    rows: Tensor
    place: Tensor
    mask: Tensor | None


def groups(offsets: Tensor, size: int) -> Groups:
    """Cuts sorted rows into groups.

    Args:
        offsets: (B + 1,) where the rows of each sample start.
        size: of a group.

    Raises:
        ValueError: a size below 1.
    """
    if size < 1:
        raise ValueError(f"groups of {size} rows; give at least 1")
    counts = offsets.diff()
    wanted = (counts + size - 1).div(size, rounding_mode="floor")
    first = torch.cat([wanted.new_zeros(1), wanted.cumsum(0)]) * size
    sample = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), wanted * size)
    local = torch.arange(len(sample), device=counts.device) - first[sample]
    own = counts[sample]
    inside = local < own
    # One group back; in a sample of a single group the last row stands for all that is empty.
    local = torch.where(inside, local, torch.where(own < size, own - 1, local - size))
    slots = (local + offsets[sample]).view(-1, size)
    # As many groups as a sample alone would have: the rest of a short one is empty.
    short = (own < size) & ~inside
    mask = ~short.view(-1, size) if bool(short.any()) else None
    return Groups(slots, inside.nonzero().flatten(), mask)


def flattened(sites: Sites, window: tuple[int, int], size: int, *, shifted: bool = False, outer: int = 0) -> Flattened:
    """The groups of sites of a plane in one order, computed once.

    Args:
        sites: of rank 2.
        window: places of a window along the two axes.
        size: of a group.
        shifted: windows start half a window earlier.
        outer: axis along which one row of windows follows another, 0 or 1.

    Raises:
        ValueError: sites of another rank, a window or a size below 1.
    """
    if sites.rank != 2 or min(window) < 1:
        raise ValueError(f"flattened windows {window} of sites of rank {sites.rank}; give a plane and windows from 1")

    def make() -> Flattened:
        order, cut = _order(sites, window, shifted, outer), groups(sites.offsets, size)
        place = torch.empty_like(order)
        place[order] = cut.place
        return Flattened(order[cut.slots], place, cut.mask)

    return sites.plan(("flattened", tuple(window), size, shifted, outer), make)


def _order(sites: Sites, window: tuple[int, int], shifted: bool, outer: int) -> Tensor:
    """(N,) rows, sample by sample along the curve."""
    inner = 1 - outer
    m, n = window[outer], window[inner]
    o, i = (sites.coords[:, 1 + axis] + (window[axis] // 2 if shifted else 0) for axis in (outer, inner))
    o1, o2, i1, i2 = o // m, o % m, i // n, i % n
    o_sign, i_sign = 1 - 2 * (o1 % 2), 1 - 2 * (i2 % 2)
    count = 2 * (-(-sites.grid[inner] // n) + 1)
    key = (count * o1 + o_sign * i1) * (4 * m * n) + o_sign * (2 * m * i2 + i_sign * o2)
    if not len(key):
        return key
    key = key - key.min()
    return (sites.coords[:, 0] * (key.max() + 1) + key).argsort(stable=True)
