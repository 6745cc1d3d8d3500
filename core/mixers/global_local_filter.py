"""Global and local filter (HorNet, Rao et al. 2022): half of the channels by a 3 x 3 depthwise convolution, the other
half by a product with learned numbers in the frequencies of the whole map (GFNet, Rao et al. 2021).

    y = norm(l_0, g_0, l_1, g_1, ...),   l = depthwise3(a),  g = F^-1(K F(b)),   a, b = halves of norm(x)

The filter K belongs to the spectrum of one size; for another it is resized bilinearly, corner to corner, as the release
does.  That is no interpolation of the kernel in space: results drift away from the size that was trained with.
Frequencies are computed in float32 at least.

No mask: the spectrum is that of the whole map.
"""

__all__ = ["GlobalLocalFilter"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.layout import grid_of
from core.mixers.base import Mixer
from core.mixers.convolution import DepthwiseConv
from core.mixers.weight_cache import WeightCache


class GlobalLocalFilter(Mixer):
    """Two kinds of convolution, a half of the channels each.

    Args:
        dim: width of the tokens, even.
        spectrum: sizes of the filter: rows, and columns / 2 + 1, of the map that is trained with.
    """

    def __init__(self, dim: int, spectrum: tuple[int, int] = (14, 8)) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"GlobalLocalFilter: dim {dim}; give an even width, for two halves")
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.local = DepthwiseConv(dim // 2, (3, 3), bias=False)
        self.filter = nn.Parameter(torch.empty(dim // 2, *spectrum, 2))
        self.norm_after = nn.LayerNorm(dim, eps=1e-6)
        self._cache = WeightCache()
        nn.init.trunc_normal_(self.local.weight, std=0.02)
        nn.init.trunc_normal_(self.filter, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dim)."""
        grid = grid_of(x)
        if len(grid) != 2:
            raise ValueError(f"GlobalLocalFilter: a grid {grid}; give maps")
        near, far = self.norm(x).chunk(2, dim=-1)
        wide = far.to(torch.promote_types(far.dtype, torch.float32))
        spectrum = torch.fft.rfft2(wide, dim=(1, 2), norm="ortho")
        size = (spectrum.shape[1], spectrum.shape[2])
        spectrum = spectrum * self._cache.get(size, [self.filter], lambda: self._resized(size)).to(spectrum.dtype)
        far = torch.fft.irfft2(spectrum, s=grid, dim=(1, 2), norm="ortho").to(x.dtype)
        return self.norm_after(torch.stack([self.local(near), far], dim=-1).flatten(-2))

    def train(self, mode: bool = True) -> "GlobalLocalFilter":
        """Also drops what was kept for inference."""
        self._cache.clear()
        return super().train(mode)

    def _resized(self, size: tuple[int, int]) -> Tensor:
        """The filter for a spectrum of another size, complex (h, w, C)."""
        own = self.filter.to(torch.promote_types(self.filter.dtype, torch.float32))
        if own.shape[1:3] != size:
            own = F.interpolate(own.permute(3, 0, 1, 2), size, mode="bilinear", align_corners=True).permute(1, 2, 3, 0)
        return torch.view_as_complex(own.contiguous()).movedim(0, -1)
