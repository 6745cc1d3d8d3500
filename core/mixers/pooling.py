"""Pooling as a mixer (PoolFormer, Yu et al. 2022): y = mean of the tokens around x, minus x; no weights.

The mean is over what exists: neither beyond the border nor padding counts (the release's count_include_pad=False).
"""

__all__ = ["Pooling"]

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from core.layout import grid_of, zero_padding
from core.mixers.base import Mixer

_MEANS = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


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
        if mask is None:
            return self._mean(x, inside=True) - x
        share = self._mean(mask[..., None].to(x.dtype), inside=False)
        mean = self._mean(x, inside=False) / share.masked_fill(share == 0, 1)
        return zero_padding(mean - x, mask)

    def _mean(self, x: Tensor, *, inside: bool) -> Tensor:
        """Mean over the kernel, over what lies inside the map or counting zeros beyond it."""
        padding = tuple(size // 2 for size in self.kernel)
        pool = _MEANS[len(self.kernel) - 1]
        y = pool(x.movedim(-1, 1), self.kernel, 1, padding, count_include_pad=not inside)  # type: ignore[operator]
        return y.movedim(1, -1)
