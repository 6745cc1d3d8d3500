"""Spatial gating (gMLP, Liu et al. 2021): [a, b] = gelu(U x), y = V (a * (W norm(b) + w)), W along the tokens.

The weights belong to places, so the map has one fixed size and there is no mask.
"""

__all__ = ["SpatialGating"]

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.mixers.base import Mixer, check_map, init_linear


class SpatialGating(Mixer):
    """A gate along the tokens inside a channel expansion; starts as if there were no gate.

    Args:
        dim: width of the tokens.
        grid: sizes of the map.
        hidden: width of each of the two halves.
    """

    def __init__(self, dim: int, grid: Sequence[int], hidden: int) -> None:
        super().__init__()
        self.dim = dim
        self.grid = tuple(grid)
        self.enter = nn.Linear(dim, 2 * hidden)
        self.norm = nn.LayerNorm(hidden)
        self.spatial = nn.Linear(prod(grid), prod(grid))
        self.leave = nn.Linear(hidden, dim)
        init_linear(self.enter, self.leave)
        # Near 0 and 1, as the paper asks for: the gate is open at first.
        nn.init.uniform_(self.spatial.weight, -1e-3 / prod(grid), 1e-3 / prod(grid))
        nn.init.ones_(self.spatial.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, *grid, dim)."""
        check_map(self, x, self.grid, self.dim)
        kept, gate = torch.chunk(F.gelu(self.enter(x.flatten(1, -2))), 2, dim=-1)
        gate = self.spatial(self.norm(gate).transpose(1, 2)).transpose(1, 2)
        return self.leave(kept * gate).unflatten(1, self.grid)
