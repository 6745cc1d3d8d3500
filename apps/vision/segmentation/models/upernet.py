"""UPerNet's head (Xiao et al. 2018, "Unified perceptual parsing", arXiv 1807.10221), as mmsegmentation has it.

    coarsest   means over 1, 2, 3 and 6 parts an axis, 1x1, resized and put beside the map; 3x3
    others     1x1, plus the resized sum of the level above; 3x3
    y = W drop(3x3 of all levels side by side at the finest size)

Every convolution has BatchNorm and ReLU behind it. Shapes: features (B, h_i, w_i, C_i), fine to coarse -> (B, classes,
h_1, w_1). Width 512 as published.
"""

__all__ = ["UPerHead"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.segmentation.models.layers import ConvNorm, maps, resize


class UPerHead(nn.Module):
    """A pyramid over the features, pooled at its top.

    Args:
        channels: of the features, fine to coarse.
        classes: numbers that are predicted.
        dim: width.
        parts: an axis, of the means over the coarsest map.
        dropout: of whole channels before the last layer.
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        dim: int = 512,
        parts: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        *finer, top = channels
        self.parts = tuple(parts)
        self.pooled = nn.ModuleList(ConvNorm(top, dim) for _ in parts)
        self.top = ConvNorm(top + len(parts) * dim, dim, 3)
        self.enter = nn.ModuleList(ConvNorm(width, dim) for width in finer)
        self.smooth = nn.ModuleList(ConvNorm(dim, dim, 3) for _ in finer)
        self.fuse = ConvNorm(len(channels) * dim, dim, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.out = nn.Conv2d(dim, classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps (B, h, w, C) -> (B, classes, h_1, w_1)."""
        *finer, top = maps(features)
        pooled = [conv(F.adaptive_avg_pool2d(top, n)) for conv, n in zip(self.pooled, self.parts, strict=True)]
        levels = [self.top(torch.cat([top, *(resize(y, top) for y in pooled)], 1))]
        for x, enter in zip(finer[::-1], list(self.enter)[::-1], strict=True):
            y = enter(x)
            levels.insert(0, y + resize(levels[0], y))
        levels = [*(conv(y) for conv, y in zip(self.smooth, levels, strict=False)), levels[-1]]
        x = self.fuse(torch.cat([resize(y, levels[0]) for y in levels], 1))
        return self.out(self.dropout(x))
