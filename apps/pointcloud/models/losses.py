"""Losses of detection heads, in float32 whatever the maps are.

heat       -(sum over centres of (1 - p)^2 log p + sum elsewhere of (1 - g)^4 p^2 log(1 - p)) / centres, or the second
           sum alone where there are none; p = sigmoid clamped to [1e-4, 1 - 1e-4]   (Law and Deng 2018)
codes      sum of |difference| over boxes / boxes, one number a code; unknown (NaN) targets are left out
focal      alpha (1 - p)^2 log p and its mirror, per number                          (Lin et al. 2017)
smooth L1  0.5 d^2 / beta below beta, else d - beta / 2
"""

__all__ = ["code_loss", "focal_loss", "heat_loss", "smooth_l1"]

import torch
from torch import Tensor
from torch.nn import functional as F


def heat_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """A number, of logits and heat of one shape."""
    chance = logits.to(heat.dtype).sigmoid().clamp(1e-4, 1 - 1e-4)
    centre = heat == 1
    found = torch.where(centre, chance.log() * (1 - chance).square(), 0).sum()
    # The weight is 0 at a centre already.
    empty = ((1 - chance).log() * chance.square() * (1 - heat).pow(4)).sum()
    return -(found + empty) / centre.sum().clamp(min=1)


def code_loss(codes: Tensor, targets: Tensor) -> Tensor:
    """(C,) of codes and targets (K, C); zeros where K = 0."""
    known = ~targets.isnan()
    apart = torch.where(known, codes.to(targets.dtype) - torch.where(known, targets, 0), 0)
    return apart.abs().sum(0) / max(len(targets), 1)


def focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Of the shape of logits and targets, which are 0 or 1."""
    chance = logits.sigmoid()
    weight = torch.where(targets > 0, alpha, 1 - alpha)
    off = torch.where(targets > 0, 1 - chance, chance)
    return weight * off.pow(gamma) * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def smooth_l1(difference: Tensor, beta: float = 1 / 9) -> Tensor:
    """Of the shape of the difference."""
    size = difference.abs()
    return torch.where(size < beta, 0.5 * size.square() / beta, size - 0.5 * beta)
