"""Windows of sparse sites: who stands in the same box of the grid.

A window spans `window` places an axis, from the origin of the grid (less `shift`); None spans the whole axis. Windows
belong to one sample. They are numbered by one integer key and one sort, 40 times faster than unique rows, once for a
set of sites: all layers at these sites share them.
"""

__all__ = ["Windows", "windows"]

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.sparse.tensor import Sites


class Windows(NamedTuple):
    """Rows grouped by window.

    Attributes:
        order: (N,) rows of the sites, window by window, raster order inside.
        place: (N,) where each row went: the inverse of `order`.
        offsets: (W + 1,) where each window starts; only windows with sites are counted.
    """

    order: Tensor
    place: Tensor
    offsets: Tensor


def windows(sites: Sites, window: Sequence[int | None], shift: Sequence[int] | None = None) -> Windows:
    """The windows of sites, computed once.

    Args:
        sites: N of them, rank D.
        window: extent an axis, None for all of it.
        shift: how far windows are moved towards the origin an axis; 0 by default.

    Raises:
        ValueError: extents below 1, or not one an axis.
    """
    size, start = tuple(window), tuple(shift or (0,) * len(window))
    if len(size) != sites.rank or len(start) != sites.rank or any(n is not None and n < 1 for n in size):
        raise ValueError(f"windows {size} with shift {start}: give an extent of at least 1 or None a grid axis")
    return sites.plan(("windows", size, start), lambda: _windows(sites, size, start))


def _windows(sites: Sites, window: tuple[int | None, ...], shift: tuple[int, ...]) -> Windows:
    key, total = sites.coords[:, 0], sites.batch_size
    for axis, (extent, own, start) in enumerate(zip(sites.grid, window, shift, strict=True), 1):
        if own is not None:
            start = start % own
            count = (extent - 1 + start) // own + 1
            place = sites.coords[:, axis] + start if start else sites.coords[:, axis]
            key = (key * count).add_(place.div(own, rounding_mode="floor") if own > 1 else place)
            total *= count
    order = _stable_order(key, total)
    place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    ends = key.index_select(0, order).diff().nonzero().flatten()
    offsets = torch.cat([ends.new_zeros(1), ends + 1, ends.new_full((min(len(key), 1),), len(key))])
    return Windows(order, place, offsets)


def _stable_order(key: Tensor, total: int) -> Tensor:
    """The order that sorts numbers from 0 to `total` - 1."""
    if key.device.type == "cpu" and total <= 2**16:
        # Numpy sorts 16 bits digit by digit, three times faster.
        return torch.from_numpy(key.numpy().astype(np.uint16).argsort(kind="stable"))
    return key.argsort(stable=True)
