"""Pooling as a mixer (PoolFormer, Yu et al. 2022): y = mean of the tokens around x, minus x; no weights.

The mean is over what exists: neither beyond the border nor padding counts (the release's count_include_pad=False).
"""

__all__ = ["Pooling"]

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from core.layout import grid_of, zero_padding
from core.mixers.base import Mixer


class Pooling(Mixer):
    """Average pooling minus identity.

    Args:
        dim: width of the tokens.
        kernel: tokens averaged, an axis, odd; its length is the rank of the grids.
    """

    def __init__(self, dim: int, kernel: Sequence[int] = (3, 3)) -> None:
        super().__init__()
        if any(size % 2 == 0 for size in kernel):
            raise ValueError(f"Pooling: kernel {tuple(kernel)}; give odd sizes, so that every token is a centre")
        self.dim = dim
        self.kernel = tuple(kernel)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, *grid, dim)."""
        if x.shape[-1] != self.dim or len(grid_of(x)) != len(self.kernel):
            raise ValueError(
                f"Pooling: tokens {tuple(x.shape)} for dim {self.dim} and kernel {self.kernel}; "
                "give one kernel size a grid axis"
            )
        x = zero_padding(x, mask)
        if mask is None and len(self.kernel) < 3:
            padding = tuple(size // 2 for size in self.kernel)
            pool: Any = (F.avg_pool1d, F.avg_pool2d)[len(self.kernel) - 1]
            return pool(x.movedim(-1, 1), self.kernel, 1, padding, count_include_pad=False).movedim(1, -1) - x
        real = torch.ones_like(x[..., :1]) if mask is None else mask[..., None].to(x.dtype)
        share = self._mean(real)
        return zero_padding(self._mean(x) / share.masked_fill(share == 0, 1) - x, mask)

    def _mean(self, x: Tensor) -> Tensor:
        """Mean over the kernel, zeros beyond the border counted."""
        # Padded here, because the pooling of volumes refuses maps smaller than its kernel whatever its own padding.
        sides = [side for size in reversed(self.kernel) for side in (size // 2, size // 2)]
        mean: Any = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(self.kernel) - 1]
        return mean(F.pad(x, (0, 0, *sides)).movedim(-1, 1), self.kernel, 1).movedim(1, -1)
