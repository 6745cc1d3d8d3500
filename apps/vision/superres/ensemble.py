"""Self-ensemble ("+" in tables; Timofte et al. 2016): the mean over the eight flips and turns of the image.

Each is enlarged and turned back, and the results are averaged as floats, before anything is clamped or rounded. The
four that exchange height and width have another shape, so there are two batches of four; for a square image too, which
keeps the memory at four images.
"""

__all__ = ["Ensemble"]

from collections.abc import Callable

import torch
from torch import Tensor


class Ensemble:
    """A network in eight positions: `Ensemble(network)(lr)` has the shape of `network(lr)`.

    Args:
        network: (B, C, H, W) -> (B, C, s H, s W).
    """

    def __init__(self, network: Callable[[Tensor], Tensor]):
        self.network = network

    def __call__(self, lr: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, s H, s W)."""
        total: Tensor | None = None
        for turned in (False, True):
            x = lr.mT if turned else lr
            flips = [(), (2,), (3,), (2, 3)]
            batch = self.network(torch.cat([x.flip(axes) for axes in flips]).contiguous())
            for axes, y in zip(flips, batch.chunk(4), strict=True):
                y = y.flip(axes)
                y = y.mT if turned else y
                total = y.clone() if total is None else total.add_(y)
        assert total is not None
        return total / 8
