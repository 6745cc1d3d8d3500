"""Normalisations.

RMSNorm (Zhang & Sennrich 2019): y = weight * x / sqrt(mean(x^2) + eps), over the last axis. Written with a dot product
instead of torch's `rms_norm`, which is not fused on a CPU (1.1-3.9 times faster forward and backward there). LayerNorm
is torch's own; prefer it where a paper leaves the choice.

Norms in front of a linear layer have two more methods, `normalised(x)` without weights and `folded(weight, bias)`, the
linear layer with the norm's own weights in it, so that several layers share one normalisation and one product:

    ScaleNorm         g x / max(||x|| / sqrt(C), eps)  (Nguyen & Salazar 2019), one g
    FoldedLayerNorm   LayerNorm

Norms of sequences (B, T, C) whose statistics leave padding out take a mask (B, T), so that a sequence in a batch is
what it is alone:

    GlobalNorm    over frames and channels together (the gLN of speech separation, GroupNorm with one group)
    InstanceNorm  over frames, for each channel
    FrameNorm     over channels, for each frame (LayerNorm, with a mask it does not need)

MapNorm is the same as GlobalNorm for grids of any rank in one fused pass: mean and variance over all places and
channels of a sample (PoolFormer's GroupNorm with one group), with or without a bias.

FrameBatchNorm is torch's BatchNorm over the real frames of a batch; there a sequence is what it is alone outside of
training.
"""

__all__ = [
    "FoldedLayerNorm",
    "FrameBatchNorm",
    "FrameNorm",
    "GlobalNorm",
    "InstanceNorm",
    "MapNorm",
    "RMSNorm",
    "ScaleNorm",
]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.layout import zero_padding
from core.ops.normalise import over_time, scale_normalise


class RMSNorm(nn.Module):
    """Root-mean-square normalisation of (..., dim), in float32 at least.

    Args:
        dim: width of the last axis.
        eps: added to the mean square.
    """

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        square = torch.linalg.vecdot(wide, wide)[..., None] / self.dim
        return (wide * torch.rsqrt(square + self.eps)).to(x.dtype) * self.weight


class ScaleNorm(nn.Module):
    """Root-mean-square normalisation with one weight.

    Args:
        dim: width of the last axis.
        eps: smallest root mean square that is divided by.
    """

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.normalised(x) * self.weight

    def normalised(self, x: Tensor) -> Tensor:
        """(..., dim) without the weight."""
        return scale_normalise(x, self.eps)

    def folded(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The linear layer (out, dim), (out,) that does to `normalised(x)` what the given one does to `forward(x)`."""
        return weight * self.weight, bias


class FoldedLayerNorm(nn.LayerNorm):
    """LayerNorm of (..., dim) that folds into what follows.

    Args:
        dim: width of the last axis.
        eps: added to the variance.
    """

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__(dim, eps)

    def normalised(self, x: Tensor) -> Tensor:
        """(..., dim) without weight and bias."""
        return F.layer_norm(x, self.normalized_shape, None, None, self.eps)

    def folded(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The linear layer (out, dim), (out,) that does to `normalised(x)` what the given one does to `forward(x)`."""
        return weight * self.weight, torch.addmv(bias, weight, self.bias)


class FrameNorm(nn.LayerNorm):
    """LayerNorm of every frame of (B, T, dim) by itself.

    Args:
        dim: width of the frames.
        eps: added to the variance.
    """

    def __init__(self, dim: int, eps: float = 1e-8) -> None:
        super().__init__(dim, eps)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, T, dim); padding becomes 0."""
        return zero_padding(super().forward(zero_padding(x, mask)), mask)


class FrameBatchNorm(nn.BatchNorm1d):
    """BatchNorm of frames (B, T, dim).

    Args:
        dim: width of the frames.
        eps: added to the variance.
    """

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__(dim, eps)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, T, dim), mask (B, T), True = real; padding becomes 0."""
        if mask is None:
            return super().forward(x.flatten(0, 1)).view_as(x)
        real = super().forward(x[mask])
        return real.new_zeros(*mask.shape, real.shape[-1]).masked_scatter(mask[..., None], real)


class GlobalNorm(nn.Module):
    """Mean and variance over the frames and channels of (B, T, dim), weight and bias a channel.

    Args:
        dim: width of the frames.
        eps: added to the variance.
    """

    jointly = True

    def __init__(self, dim: int, eps: float = 1e-8) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, T, dim), mask (B, T), True = real; padding becomes 0."""
        y = torch.addcmul(self.bias, over_time(x, mask, self.eps, jointly=self.jointly), self.weight)
        return zero_padding(y, mask)


class InstanceNorm(GlobalNorm):
    """Mean and variance over the frames of (B, T, dim), for each channel.

    Args:
        dim: width of the frames.
        eps: added to the variance.
    """

    jointly = False

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__(dim, eps)


class MapNorm(nn.Module):
    """Mean and variance over the places and channels of (B, *grid, dim), weight and bias a channel.

    Args:
        dim: width of the tokens.
        eps: added to the variance.
        bias: whether there is one.
    """

    def __init__(self, dim: int, eps: float = 1e-5, *, bias: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, *grid, dim), mask (B, *grid), True = real; padding becomes 0 and is left out of the statistics."""
        if mask is None:
            y = F.layer_norm(x, x.shape[1:], None, None, self.eps)
        else:
            axes = tuple(range(1, x.ndim))
            x = zero_padding(x, mask)
            count = (mask.flatten(1).sum(1) * x.shape[-1]).clamp(min=1).view(-1, *(1 for _ in axes))
            centred = x - x.sum(axes, keepdim=True) / count
            variance = zero_padding(centred, mask).square().sum(axes, keepdim=True) / count
            y = centred * torch.rsqrt(variance + self.eps)
        y = y * self.weight if self.bias is None else torch.addcmul(self.bias, y, self.weight)
        return zero_padding(y, mask)
