"""Sinusoidal positions: sines and cosines of geometrically spaced frequencies, interleaved.

table[t, 2i] = sin(t / base^(2i / dim)), table[t, 2i + 1] = cos(t / base^(2i / dim))  (Vaswani et al. 2017).
An odd width has one sine more than cosines.
"""

__all__ = ["sinusoid"]

import math

import torch
from torch import Tensor


def sinusoid(length: int, dim: int, base: float = 10000.0) -> Tensor:
    """The table `(length, dim)` of positions 0 to length - 1."""
    frequency = torch.exp(torch.arange(0, dim, 2).float() * (-math.log(base) / dim))
    angle = torch.arange(length).float()[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :dim]
