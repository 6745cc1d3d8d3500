"""Positions added to x: fixed sinusoids (Vaswani et al. 2017), learned tables (Dosovitskiy et al. 2021).

Sinusoid, for each of D axes with its own C / D channels: sin(p / base^(2i/(C/D))), cos(...), in turn.
A learned table serves any grid by bicubic resizing (as ViT does for images), one axis after the other, which is the
same as in one step and works at any rank.
"""

__all__ = ["LearnedPosition", "Sinusoid", "resize_grid"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.layout import Ragged, Tokens, coordinates, grid_of


class Sinusoid(nn.Module):
    """x + sinusoids of the coordinates; grids of any rank and ragged sets with coordinates.

    Args:
        dim: width C of the tokens; divisible by twice the rank of the grids it meets.
        base: ratio of the longest to the shortest wave.
    """

    def __init__(self, dim: int, base: float = 10000.0) -> None:
        super().__init__()
        self.dim = dim
        self.base = base

    def forward(self, x: Tokens) -> Tokens:
        if isinstance(x, Ragged):
            if x.coords is None:
                raise ValueError("Sinusoid: a ragged set without coordinates; give Ragged(tokens, offsets, coords)")
            return x.with_tokens(x.tokens + self.at(x.coords).to(x.tokens.dtype))
        return x + self.at(coordinates(grid_of(x), device=x.device)).to(x.dtype)

    def at(self, coords: Tensor) -> Tensor:
        """The table at coordinates (..., D) -> (..., C), for instance that of one step."""
        rank = coords.shape[-1]
        if self.dim % (2 * rank):
            raise ValueError(f"Sinusoid: dim {self.dim} on a grid of rank {rank}; give a multiple of {2 * rank}")
        count = self.dim // (2 * rank)
        frequency = self.base ** -(torch.arange(count, device=coords.device, dtype=torch.float32) / count)
        angle = coords.float()[..., None] * frequency
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-3)


class LearnedPosition(nn.Module):
    """x + a learned table, resized to x's grid.

    Args:
        dim: width of the tokens.
        grid: sizes of the table.
    """

    def __init__(self, dim: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(*grid, dim))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        grid = grid_of(x)
        if len(grid) != self.table.ndim - 1:
            raise ValueError(
                f"LearnedPosition: a table {tuple(self.table.shape[:-1])} for a grid {grid}; give a table of its rank"
            )
        return x + resize_grid(self.table, grid)


def resize_grid(table: Tensor, grid: Sequence[int]) -> Tensor:
    """Bicubic resizing of a table (*old grid, C) to (*grid, C), pixel centres aligned; the table itself if equal."""
    for axis, length in enumerate(grid):
        if table.shape[axis] == length:
            continue
        rows = table.movedim(axis, -1)
        flat = rows.reshape(1, -1, rows.shape[-1], 1)
        flat = F.interpolate(flat, size=(length, 1), mode="bicubic", align_corners=False)
        table = flat.reshape(*rows.shape[:-1], length).movedim(-1, axis)
    return table
