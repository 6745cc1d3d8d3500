"""Tables of positions of patches: how they start, and whether they learn.

A start is a function `(length, dim) -> (length, dim)` or `(length, 1)` tensor, passed to a network by name.  The
ones here are those of the PatchTST and PatchTSMixer releases (`positional_encoding` and `position_enc`); the
deterministic ones have mean 0 and standard deviation 0.1.
"""

__all__ = [
    "Positions",
    "linear_column",
    "normal",
    "normal_column",
    "root_column",
    "sinusoidal",
    "small_uniform",
    "small_uniform_column",
    "uniform_column",
]

import torch
from torch import Tensor, nn

from core.positions.sinusoid import sinusoid


def small_uniform(length: int, dim: int) -> Tensor:
    """Uniform in (-0.02, 0.02) (PatchTST `zeros`)."""
    return torch.empty(length, dim).uniform_(-0.02, 0.02)


def small_uniform_column(length: int, dim: int) -> Tensor:
    """One number a position, uniform in (-0.02, 0.02) (PatchTST `zero`)."""
    return small_uniform(length, 1)


def normal(length: int, dim: int) -> Tensor:
    """Normal with deviation 0.1 (PatchTSMixer `random`)."""
    return 0.1 * torch.randn(length, dim)


def normal_column(length: int, dim: int) -> Tensor:
    """One number a position, normal with deviation 0.1 (PatchTST `normal`, `gauss`)."""
    return normal(length, 1)


def uniform_column(length: int, dim: int) -> Tensor:
    """One number a position, uniform in (0, 0.1) (PatchTST `uniform`)."""
    return torch.rand(length, 1) / 10


def standardised(table: Tensor) -> Tensor:
    """Mean 0 and standard deviation 0.1 over all numbers; a single number becomes 0."""
    centred = table - table.mean()
    return centred / (10 * centred.std()) if table.numel() > 1 else centred


def sinusoidal(length: int, dim: int) -> Tensor:
    """Interleaved sine and cosine, base 10000 (`sincos` of both)."""
    return standardised(sinusoid(length, dim))


def linear_column(length: int, dim: int) -> Tensor:
    """A straight line (PatchTST `lin1d`)."""
    return standardised(torch.linspace(-1, 1, length)[:, None])


def root_column(length: int, dim: int) -> Tensor:
    """The square root of a straight line (PatchTST `exp1d`)."""
    return standardised(torch.linspace(0, 1, length)[:, None].sqrt())


class Positions(nn.Module):
    """Adds a table to tokens `(..., length, dim)`.

    Args:
        table: the start.
        learned: whether it is trained; a fixed one is in the state dict all the same.
    """

    def __init__(self, table: Tensor, learned: bool):
        super().__init__()
        self.table = nn.Parameter(table, requires_grad=learned)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table
