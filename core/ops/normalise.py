"""Normalisations without weights, written so that the backward pass keeps one tensor.

    scale_normalise   y = x / max(||x|| / sqrt(C), eps), over the last axis (ScaleNorm, Nguyen & Salazar 2019)
    over_time         y = (x - mean) / sqrt(variance + eps), over the frames of a sequence, or frames and channels
    instance_prelu    PReLU(w over_time(x) + b), per channel; keeps over_time(x) alone
    prelu_moments     PReLU(x) with its mean and 1 / deviation over frames and channels; keeps x alone

Shapes: x (B, T, C); a mask (B, T), True = real frame, leaves padding out of mean and variance and makes it 0 in
`over_time`.  Variances are biased.  Where nothing is real the result is 0.
"""

__all__ = ["instance_prelu", "over_time", "prelu_moments", "scale_normalise"]

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from core.layout import zero_padding


def scale_normalise(x: Tensor, eps: float = 1e-5) -> Tensor:
    """(..., C) to a mean square of 1 (of less where the root mean square is below eps)."""
    if torch.compiler.is_compiling() or not (torch.is_grad_enabled() and x.requires_grad):
        return x * _ScaleNormalise.factor(x, eps)[..., None]
    return _ScaleNormalise.apply(x, eps)


def over_time(x: Tensor, mask: Tensor | None, eps: float, *, jointly: bool) -> Tensor:
    """Mean 0 and variance 1 over the real frames of each sequence.

    Args:
        x: sequences.
        mask: real frames.
        eps: added to the variance.
        jointly: one mean and variance for all channels instead of one a channel.
    """
    # Half precision has too few digits for sums over thousands of frames.
    wide = torch.promote_types(x.dtype, torch.float32)
    return _statistics(x.to(wide), mask, eps, jointly)[0].to(x.dtype)


def instance_prelu(
    x: Tensor, weight: Tensor, bias: Tensor, slope: Tensor, mask: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """PReLU of an affine instance normalisation; weight, bias and slope (C,). Padding becomes what it may."""
    if torch.compiler.is_compiling() or torch.is_autocast_enabled(x.device.type):
        y = over_time(x, mask, eps, jointly=False) * weight + bias
        return F.prelu(y.mT, slope).mT
    return _InstancePReLU.apply(x, weight, bias, slope, mask, eps)


def prelu_moments(
    x: Tensor, slope: Tensor, mask: Tensor | None = None, eps: float = 1e-8
) -> tuple[Tensor, Tensor, Tensor]:
    """p = PReLU(x) with mean and 1 / deviation of its real frames, over all channels.

    What follows takes the normalisation (p - mean) rate along: into its weights, or into the norm's own weights.

    Args:
        x: sequences.
        slope: (1,).
        mask: real frames; p is 0 elsewhere.
        eps: added to the variance.

    Returns:
        p (B, T, C), mean and rate (B, 1, 1), these in single precision under autocast.
    """
    if torch.compiler.is_compiling() or torch.is_autocast_enabled(x.device.type):
        p, mean, rate = _moments(zero_padding(F.prelu(x, slope), mask), mask, eps)
        # Autocast keeps what is summed over thousands of frames in single precision.
        kind = mean.dtype if torch.is_autocast_enabled(x.device.type) else p.dtype
        return p, mean.to(kind), rate.to(kind)
    return _PReLUMoments.apply(x, slope, mask, eps)


def _moments(p: Tensor, mask: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Two passes without a result of p's size; a sum of rows keeps the digits that one long sum loses."""
    wide = p.to(torch.promote_types(p.dtype, torch.float32))
    count = _count(wide, mask, wide.shape[2])
    mean = wide.sum((1, 2), keepdim=True) / count
    square = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square().sum(1, keepdim=True) / count
    rate = torch.rsqrt((square - mean.square()).clamp(min=0) + eps)
    return p, mean, rate


def _count(x: Tensor, mask: Tensor | None, size: int) -> Tensor | float:
    """Entries that a mean over `size` channels is over, (B, 1, 1)."""
    if mask is None:
        return x.shape[1] * size
    return (mask.sum(1) * size).clamp(min=1).to(x.dtype)[:, None, None]


def _statistics(x: Tensor, mask: Tensor | None, eps: float, jointly: bool) -> tuple[Tensor, Tensor, Tensor | float]:
    """The normalised frames, 1 / deviation, and how many entries a mean is over."""
    axes = (1, 2) if jointly else (1,)
    size = x.shape[2] if jointly else 1
    x = zero_padding(x, mask)
    count = _count(x, mask, size)
    centred = x - x.sum(axes, keepdim=True) / count
    centred = zero_padding(centred, mask)
    rate = torch.rsqrt(centred.square().sum(axes, keepdim=True) / count + eps)
    return centred * rate, rate, count


class _ScaleNormalise(torch.autograd.Function):
    @staticmethod
    def factor(x: Tensor, eps: float) -> Tensor:
        return (torch.linalg.vector_norm(x, dim=-1) * x.shape[-1] ** -0.5).clamp(min=eps).reciprocal()

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        factor = _ScaleNormalise.factor(x, eps)
        y = x * factor[..., None]
        ctx.save_for_backward(y, factor)
        ctx.limit = 1 / eps
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        y, factor = ctx.saved_tensors
        along = torch.linalg.vecdot(y, gradient) / y.shape[-1]
        # Below eps the factor is a constant.
        along = along.masked_fill(factor >= ctx.limit, 0)
        return torch.addcmul(gradient, y, along[..., None], value=-1).mul_(factor[..., None]), None


class _InstancePReLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, slope: Tensor, mask: Tensor | None, eps: float
    ) -> Tensor:
        normal, rate, count = _statistics(x, mask, eps, jointly=False)
        ctx.save_for_backward(normal, rate, weight, bias, slope, mask)
        ctx.count = count
        return F.prelu(torch.addcmul(bias, normal, weight).mT, slope).mT

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        normal, rate, weight, bias, slope, mask = ctx.saved_tensors
        y = torch.addcmul(bias, normal, weight)
        low = y.clamp(max=0)
        of_slope = (gradient * low).sum((0, 1))
        # slope where y <= 0, 1 elsewhere
        of_y = gradient * torch.where(y > 0, 1, slope)
        of_weight, of_bias = (of_y * normal).sum((0, 1)), of_y.sum((0, 1))
        of_normal = zero_padding(of_y, mask) * weight
        mean = of_normal.sum(1, keepdim=True) / ctx.count
        along = (of_normal * normal).sum(1, keepdim=True) / ctx.count
        of_x = zero_padding((of_normal - mean - normal * along) * rate, mask)
        return of_x, of_weight, of_bias, of_slope, None, None


class _PReLUMoments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor, mask: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        p, mean, rate = _moments(zero_padding(F.prelu(x, slope), mask), mask, eps)
        mean, rate = mean.to(p.dtype), rate.to(p.dtype)
        ctx.save_for_backward(x, slope, mask, mean, rate)
        return p, mean, rate

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_p: Tensor, of_mean: Tensor, of_rate: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, slope, mask, mean, rate = ctx.saved_tensors
        count = _count(x, mask, x.shape[2])
        # rate = (E p^2 - mean^2 + eps)^(-1/2); of_p + constant + factor p
        factor = -of_rate * rate**3 / count
        of_p = torch.addcmul(of_p + (of_mean / count - factor * mean), F.prelu(x, slope), factor)
        of_p = zero_padding(of_p, mask)
        # ReLU's gradient and what it leaves out; `where` takes ten times as long.
        above = torch.ops.aten.threshold_backward(of_p, x, 0)
        below = of_p.sub_(above)
        of_slope = torch.dot(below.flatten(), zero_padding(x, mask).flatten()).view(1)
        return torch.addcmul(above, below, slope), of_slope, None, None
