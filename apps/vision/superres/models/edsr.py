"""EDSR (Lim et al. 2017), in BasicSR's form: residual blocks of two convolutions without normalisation.

    body: depth x [x + res_scale * conv(ReLU(conv(x)))], conv, + what enters;   then [conv, pixel shuffle] steps, conv

Values are in 0 .. 255 inside. Decided: the order in memory is that of the image, since these convolutions take both
equally long.
`edsr_small` is no published size: it is for tests and quick training.
"""

__all__ = ["EDSR", "ResidualConvs", "StepUpsampler", "edsr_base", "edsr_large", "edsr_small"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.superres.models.shell import Shell, TokenConv, pixel_shuffle


class ResidualConvs(nn.Module):
    """x + res_scale * conv(ReLU(conv(x))) on tokens (B, H, W, dim).

    Args:
        dim: width of the tokens.
        res_scale: factor of the branch, which keeps wide networks stable.
    """

    def __init__(self, dim: int, res_scale: float = 1.0) -> None:
        super().__init__()
        self.res_scale = res_scale
        self.enter = TokenConv(dim, dim, 3, padding=1)
        self.leave = TokenConv(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.leave(F.relu(self.enter(x))), alpha=self.res_scale)


class StepUpsampler(nn.Module):
    """[conv, pixel shuffle] in steps of 2 (or one of 3), conv; the steps are as wide as the features.

    Args:
        dim: width of the features.
        channels: of the image.
        scale: 3 or a power of 2; 1 does not enlarge.

    Raises:
        ValueError: for another scale.
    """

    def __init__(self, dim: int, channels: int, scale: int) -> None:
        super().__init__()
        if scale < 1 or (scale != 3 and scale & (scale - 1)):
            raise ValueError(f"StepUpsampler: scale {scale}; give 3 or a power of 2")
        self.scale = scale
        self.factors = [3] if scale == 3 else [2] * (scale.bit_length() - 1)
        self.steps = nn.ModuleList(TokenConv(dim, dim * f * f, 3, padding=1) for f in self.factors)
        self.leave = TokenConv(dim, channels, 3, padding=1)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Features (B, H, W, dim) -> (B, scale H, scale W, channels); the normalised image is not read."""
        for step, factor in zip(self.steps, self.factors, strict=True):
            x = pixel_shuffle(step(x), factor)
        return self.leave(x)


class EDSR(Shell):
    """(B, channels, H, W) in [0, 1] -> (B, channels, scale H, scale W).

    Args:
        scale: 1, 2, 3, 4, 8.
        channels: of the image.
        dim: width of the features.
        depth: number of residual blocks.
        res_scale: factor of their branches.
        value_range: of the values inside.
    """

    def __init__(
        self,
        scale: int,
        *,
        channels: int = 3,
        dim: int = 64,
        depth: int = 16,
        res_scale: float = 1.0,
        value_range: float = 255.0,
    ) -> None:
        super().__init__(
            nn.Sequential(*(ResidualConvs(dim, res_scale) for _ in range(depth))),
            StepUpsampler(dim, channels, scale),
            channels=channels,
            dim=dim,
            join=TokenConv(dim, dim, 3, padding=1),
            value_range=value_range,
        )


def edsr_small(scale: int) -> EDSR:
    """8 blocks of 32 channels; no published size."""
    return EDSR(scale, dim=32, depth=8)


def edsr_base(scale: int) -> EDSR:
    """The baseline: 16 blocks of 64 channels."""
    return EDSR(scale)


def edsr_large(scale: int) -> EDSR:
    """EDSR itself: 32 blocks of 256 channels."""
    return EDSR(scale, dim=256, depth=32, res_scale=0.1)
