"""Relative bias table (Swin, Liu et al. 2021): bias_h(q, k) = table[row(p_q - p_k), h].

row(delta) is the raster number of delta + window - 1 in a box of 2 window - 1 a side, for any rank. Coordinates are
local (steps inside a window), so partial windows, dilated grids and voxels in ragged windows read the same table.

Decided: row numbers are recomputed and kept with the plan; the releases keep them in a buffer, which averaging of
weights destroys and checkpoints carry along.
"""

__all__ = ["RelativeTable"]

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from core.partitions import Pairs
from core.positions.absolute import resize_grid
from core.positions.base import ScoreBias


class RelativeTable(ScoreBias):
    """One learned number for each head and each difference of positions inside a window.

    Args:
        heads: number of heads.
        window: largest extent of a group an axis; differences reach window - 1.
    """

    local = True

    def __init__(self, heads: int, window: Sequence[int]) -> None:
        super().__init__()
        self.heads = heads
        self.window = tuple(window)
        self.table = nn.Parameter(torch.empty(prod(2 * w - 1 for w in self.window), heads))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, pairs: Pairs) -> Tensor:
        rows = pairs.derived((RelativeTable, self.window), self._rows)
        # index_select on the rows is the fastest gather forward and backward; the op wants heads in front.
        values = self.table.index_select(0, rows.flatten()).view(*rows.shape, self.heads)
        return values.movedim(-1, 1).contiguous()

    def resized(self, window: Sequence[int]) -> "RelativeTable":
        """The table for another window, by bicubic interpolation of the differences (as Swin's fine-tuning does)."""
        other = RelativeTable(self.heads, window).to(self.table)
        with torch.no_grad():
            box = self.table.view(*(2 * w - 1 for w in self.window), self.heads)
            other.table.copy_(resize_grid(box, [2 * w - 1 for w in other.window]).reshape(other.table.shape))
        return other

    def _rows(self, pairs: Pairs) -> Tensor:
        if pairs.queries.shape[-1] != len(self.window):
            raise ValueError(
                f"RelativeTable: window {self.window} for groups of rank {pairs.queries.shape[-1]}; "
                "give one window size a grid axis"
            )
        delta = pairs.queries[:, :, None] - pairs.keys[:, None]
        reach = torch.tensor(self.window, device=delta.device) - 1
        steps = delta.round().long()
        # While compiling, the numbers are not known yet.
        if not torch.compiler.is_compiling() and delta.numel():
            if not torch.equal(steps.to(delta.dtype), delta):
                raise ValueError(
                    "RelativeTable: positions that differ by fractions of a step; use a bias computed from coordinates"
                )
            if bool((steps.abs() > reach).any()):
                raise ValueError(
                    f"RelativeTable: window {self.window} for groups that reach over "
                    f"{(steps.abs().flatten(0, -2).amax(0) + 1).tolist()}; give a window as large"
                )
        rows = torch.zeros_like(steps[..., 0])
        for axis, size in enumerate(self.window):
            rows = rows * (2 * size - 1) + steps[..., axis] + reach[axis]
        return rows
