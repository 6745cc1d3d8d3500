"""Instance normalisation of a window, shared by the networks that have it."""

__all__ = ["window_statistics"]

import torch
from torch import Tensor

EPSILON = 1e-5


def window_statistics(x: Tensor, observed: Tensor | None = None, differentiable: bool = False) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over time of every channel of a window.

    mean = sum x / n (detached), scale = sqrt(sum (x - mean)^2 / n + 1e-5), over observed steps; a channel without
    any has mean 0 and scale 1.

    Args:
        x: `(B, L, C)`; what stands at unobserved places does not matter.
        observed: `(B, L, C)` bool, True where a value is real; all by default.
        differentiable: keep the gradient through the scale, as the TimeXer and iTransformer releases do.

    Returns:
        loc and scale, each `(B, 1, C)`.
    """
    if observed is None:
        loc = x.mean(1, keepdim=True).detach()
        variance = (x - loc).square().mean(1, keepdim=True)
    else:
        x = x.masked_fill(~observed, 0)
        count = observed.sum(1, keepdim=True).clamp(min=1)
        loc = (x.sum(1, keepdim=True) / count).detach()
        variance = ((x - loc) * observed).square().sum(1, keepdim=True) / count
        variance = torch.where(observed.any(1, keepdim=True), variance, 1 - EPSILON)
    scale = (variance + EPSILON).sqrt()
    return loc, scale if differentiable else scale.detach()
