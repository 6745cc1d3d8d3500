"""What kMaX-DeepLab (Yu et al. 2022) predicts with: classes and masks of queries, and a semantic head to learn by.

    pixels   e = unit length of N W gelu(N W gelu(N depthwise5(x)))
    classes  W q + log(.9 K / .1) for void, the last class: nearly all queries begin as void
    masks    n(<e_p, N W q>), n a batch norm of one channel whose weight begins at .1

The semantic head of the networks for COCO and ADE20K is Panoptic-DeepLab's (Cheng et al. 2020): atrous pyramid pooling
on the coarsest features, two finer ones beside it, each followed by depthwise 5 x 5 and 1 x 1; K + 1 outputs, the last
of which has no label. That for Cityscapes is depthwise 5 x 5 and two 1 x 1. Both read the backbone's own features.

Shapes: queries (B, N, dim), maps (B, h, w, C); what comes out has channels second, as losses want it.
"""

__all__ = ["AtrousPyramid", "PlainSemanticHead", "Prediction", "Predictor", "SemanticHead"]

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.segmentation.models.kmax_layers import ConvNorm, odd, resized, truncated
from core.mixers.position_sensitive import TokenBatchNorm


class Prediction(NamedTuple):
    """Of one layer.

    Attributes:
        classes: (B, N, K + 1) logits, void last.
        masks: (B, N, h, w) logits, for a softmax over N.
        pixels: (B, C, h, w) of unit length.
    """

    classes: Tensor
    masks: Tensor
    pixels: Tensor


class Predictor(nn.Module):
    """Classes and masks.

    Args:
        pixel_dim: width of the map.
        classes: without void.
        dim: width of the queries, and inside.
        mask_dim: width in which queries and pixels meet.
        mask_gain: first size of the logits of masks; 0.1 as published takes thousands of steps to grow.
    """

    def __init__(
        self, pixel_dim: int, classes: int, dim: int = 256, mask_dim: int = 128, mask_gain: float = 0.1
    ) -> None:
        super().__init__()
        self.around = ConvNorm(pixel_dim, pixel_dim, 5, depthwise=True, act=True)
        self.wide = ConvNorm(pixel_dim, dim, act=True)
        self.pixels = ConvNorm(dim, mask_dim, bias=True, std=0.01)
        self.masks = ConvNorm(dim, mask_dim)
        self.classes = nn.Linear(dim, classes + 1)
        truncated(self.classes.weight, 0.01)
        nn.init.zeros_(self.classes.bias)
        self.mask_norm = TokenBatchNorm(1, gain=mask_gain)
        prior = torch.zeros(classes + 1)
        prior[-1] = math.log(classes * 0.9 / 0.1)
        self.prior: Tensor
        self.register_buffer("prior", prior, persistent=False)

    def forward(self, masks: Tensor, classes: Tensor, x: Tensor, mask: Tensor | None = None) -> Prediction:
        """What is predicted.

        Args:
            masks, classes: (B, N, dim) queries as masks and as classes are read from them.
            x: (B, h, w, pixel_dim).
            mask: (B, h, w) boolean, True = real pixel.
        """
        pixels = F.normalize(self.pixels(self.wide(self.around(x, mask), mask), mask), dim=-1)
        scores = self.masks(masks) @ pixels.flatten(1, 2).transpose(1, 2)
        scores = scores.view(*scores.shape[:2], *pixels.shape[1:3], 1)
        real = None if mask is None else mask[:, None].expand(scores.shape[:-1])
        return Prediction(
            self.classes(classes) + self.prior, self.mask_norm(scores, real).squeeze(-1), pixels.movedim(-1, 1)
        )


class AtrousPyramid(nn.Module):
    """1 x 1, three dilated 3 x 3 and the mean of the map, side by side, and 1 x 1 (DeepLab v3).

    Args:
        dim, width: of x and of the result.
        rates: dilations.
        dropout: of the result.
    """

    def __init__(self, dim: int, width: int, rates: Sequence[int] = (6, 12, 18), dropout: float = 0.1) -> None:
        super().__init__()
        self.point = ConvNorm(dim, width, act=True)
        self.wide = nn.ModuleList(ConvNorm(dim, width, 3, dilation=rate, act=True) for rate in rates)
        self.mean = ConvNorm(dim, width, act=True)
        self.proj = ConvNorm((2 + len(rates)) * width, width, act=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, dim) -> (B, h, w, width)."""
        mean = self.mean(x.mean((1, 2), keepdim=True)).expand(*x.shape[:-1], -1)
        return self.dropout(self.proj(torch.cat([self.point(x), *(conv(x) for conv in self.wide), mean], -1)))


class _Lower(nn.Module):
    """A finer map beside the coarse one."""

    def __init__(self, low: int, narrow: int, dim: int) -> None:
        super().__init__()
        self.low = ConvNorm(low, narrow, act=True)
        self.around = ConvNorm(dim + narrow, dim + narrow, 5, depthwise=True, act=True)
        self.out = ConvNorm(dim + narrow, dim, act=True)

    def forward(self, x: Tensor, low: Tensor, corners: bool) -> Tensor:
        low = self.low(low)
        x = resized(x, (low.shape[1], low.shape[2]), corners)
        return self.out(self.around(torch.cat([x, low], -1)))


class SemanticHead(nn.Module):
    """Panoptic-DeepLab's, with K + 1 outputs.

    Args:
        channels: of the backbone's features, coarse to fine; the first and, where they exist, the third and fourth are
            read.
        classes: without void.
        dim: width.
        rates: dilations of the pyramid.
        low_dims: widths of the finer maps.
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        dim: int = 256,
        rates: Sequence[int] = (6, 12, 18),
        low_dims: Sequence[int] = (64, 32),
    ) -> None:
        super().__init__()
        self.pyramid = AtrousPyramid(channels[0], dim, rates)
        self.lower = nn.ModuleList(
            _Lower(low, narrow, dim) for low, narrow in zip(channels[2:], low_dims, strict=False)
        )
        self.around, self.wide = ConvNorm(dim, dim, 5, depthwise=True, act=True), ConvNorm(dim, dim, act=True)
        self.out = nn.Linear(dim, classes + 1)
        truncated(self.out.weight, 0.01)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features (B, h, w, C), coarse to fine -> (B, K + 1, h', w')."""
        x = self.pyramid(features[0])
        # Decided by the coarsest map for all of them, as in the release.
        corners = odd(x.shape[2])
        for part, low in zip(self.lower, features[2:], strict=False):
            x = part(x, low, corners)
        return self.out(self.wide(self.around(x))).movedim(-1, 1)


class PlainSemanticHead(nn.Module):
    """Depthwise 5 x 5 and two 1 x 1 on the coarsest features, with K outputs.

    Args:
        channels: of the backbone's features, coarse to fine.
        classes: without void.
        dim: width.
    """

    def __init__(self, channels: Sequence[int], classes: int, dim: int = 256) -> None:
        super().__init__()
        self.around = ConvNorm(channels[0], channels[0], 5, depthwise=True, act=True)
        self.wide = ConvNorm(channels[0], dim, act=True)
        self.out = nn.Linear(dim, classes)
        truncated(self.out.weight, 0.01)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Features (B, h, w, C), coarse to fine -> (B, K, h, w) of the coarsest."""
        return self.out(self.wide(self.around(features[0]))).movedim(-1, 1)
