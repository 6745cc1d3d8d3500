"""SegFormer's head (Xie et al. 2021, arXiv 2105.15203), any pyramid of features.

    y = W drop(relu(BN(F [resize(W_n x_n + b_n), ..., resize(W_1 x_1 + b_1)])))    coarse to fine, at the finest size

Shapes: features (B, h_i, w_i, C_i), fine to coarse -> (B, classes, h_1, w_1).  Published widths: 256 (B0, B1), 768 (B2
and larger).  F is linear over pixels, and so are the resizes: F_i W_i is taken at each level's own size and only the
sum is made at the finest, for E C_i instead of 4 E^2 products a pixel there.

mmsegmentation's head of the same name is another one, with BatchNorm and ReLU at every level and the features fine to
coarse: `ActivatedSegFormerHead`.
"""

__all__ = ["ActivatedSegFormerHead", "SegFormerHead"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.segmentation.models.layers import ConvNorm, maps, resize


class SegFormerHead(nn.Module):
    """The release's.

    Args:
        channels: of the features, fine to coarse.
        classes: numbers that are predicted.
        dim: width E.
        dropout: of whole channels before the last layer.
    """

    def __init__(self, channels: Sequence[int], classes: int, dim: int = 256, dropout: float = 0.1) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Linear(width, dim) for width in channels)
        self.fuse = ConvNorm(len(channels) * dim, dim)
        self.dropout = nn.Dropout2d(dropout)
        self.out = nn.Conv2d(dim, classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps (B, h, w, C) -> (B, classes, h_1, w_1)."""
        finest = features[0].shape[1:3]
        # The coarsest level comes first in the weight.
        parts = self.fuse.conv.weight[:, :, 0, 0].chunk(len(self.levels), 1)[::-1]
        total: Tensor | None = None
        for x, level, part in zip(features, self.levels, parts, strict=True):
            y = F.linear(x, part @ level.weight, part @ level.bias).movedim(-1, 1)
            y = resize(y, (finest[0], finest[1]))
            total = y if total is None else total + y
        assert total is not None
        x = F.relu(self.fuse.norm(total))
        return self.out(self.dropout(x))


class ActivatedSegFormerHead(nn.Module):
    """mmsegmentation's: relu(BN(W_i x_i)) at every level.

    Args:
        channels: of the features, fine to coarse.
        classes: numbers that are predicted.
        dim: width.
        dropout: of whole channels before the last layer.
    """

    def __init__(self, channels: Sequence[int], classes: int, dim: int = 256, dropout: float = 0.1) -> None:
        super().__init__()
        self.levels = nn.ModuleList(ConvNorm(width, dim) for width in channels)
        self.fuse = ConvNorm(len(channels) * dim, dim)
        self.dropout = nn.Dropout2d(dropout)
        self.out = nn.Conv2d(dim, classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps (B, h, w, C) -> (B, classes, h_1, w_1)."""
        made = [level(x) for level, x in zip(self.levels, maps(features), strict=True)]
        x = self.fuse(torch.cat([resize(y, made[0]) for y in made], 1))
        return self.out(self.dropout(x))
