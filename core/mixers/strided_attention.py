"""Attention in windows of tokens that lie apart (long-distance attention of CrossFormer, Wang et al. 2022).

Super-cells of window * interval tokens an axis hold interval windows each, of every interval-th token; differences of
positions count in intervals.  With interval 1 these are plain windows (its short-distance attention).

Decided: groups at the border of a map that does not divide are smaller, which is what the release's masking of filled
places gives.  An axis no longer than the window is one group, as in the release where both axes are; there a map short
on one axis alone has windows of that side on both, or, in the code for segmentation, none from then on.  With a mask,
how long an axis is is asked of each sample's real extent.
"""

__all__ = ["StridedAttention"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from core.layout import grid_of, zero_padding
from core.mixers.base import Mixer
from core.mixers.groups import GroupAttention
from core.partitions import Partition, Strided, Windows
from core.positions import RelativeTable, ScoreBias


class StridedAttention(Mixer):
    """Tokens attend to tokens at a distance.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        window: tokens a group, an axis; its length is the grids' rank.
        interval: distance of two tokens of a group, an axis.
        bias: whether q, k and v have one.
        make_score_bias: makes what is added to the scores from heads and window; None = nothing.
        scale: factor of the scores; width of a head ** -0.5 by default.
        dropout: of attention weights.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window: Sequence[int],
        interval: Sequence[int],
        *,
        bias: bool = True,
        make_score_bias: Callable[[int, Sequence[int]], ScoreBias] | None = RelativeTable,
        scale: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(window) != len(interval) or min(*window, *interval) < 1:
            raise ValueError(
                f"StridedAttention: window {tuple(window)} with interval {tuple(interval)}; give numbers from 1 on, "
                "one of each an axis"
            )
        score_bias = None if make_score_bias is None else make_score_bias(heads, window)
        self.groups = GroupAttention(dim, heads, bias=bias, score_bias=score_bias, dropout=dropout, scale=scale)
        self.window = tuple(window)
        self.interval = tuple(interval)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, *grid, dim)."""
        if mask is None:
            return self._mix(x, self._partition(grid_of(x)), None)
        x = zero_padding(x, mask)
        kinds: dict[Partition, list[int]] = {}
        for sample, extent in enumerate(_extents(mask)):
            kinds.setdefault(self._partition(extent), []).append(sample)
        if len(kinds) == 1:
            return zero_padding(self._mix(x, next(iter(kinds)), mask), mask)
        y = torch.zeros_like(x)
        for partition, samples in kinds.items():
            rows = torch.tensor(samples, device=x.device)
            y = y.index_copy(0, rows, self._mix(x[rows], partition, mask[rows]).to(y.dtype))
        return zero_padding(y, mask)

    def _mix(self, x: Tensor, partition: Partition, mask: Tensor | None) -> Tensor:
        return self.groups(x, partition.plan(grid_of(x), device=x.device), mask)

    def _partition(self, extent: Sequence[int]) -> Partition:
        """For a map, or a sample in it, of this extent."""
        axes = zip(extent, self.window, self.interval, strict=False)
        apart = tuple(1 if length <= window else step for length, window, step in axes)
        if len(extent) == len(self.window) and max(apart) == 1:
            return Windows(self.window)
        return Strided(self.window, apart)


def _extents(mask: Tensor) -> list[list[int]]:
    """For each sample, where its last real token stands on each axis, counted from 1."""
    ends = []
    for axis in range(1, mask.ndim):
        line = mask.movedim(axis, 1).flatten(2).any(2) if mask.ndim > 2 else mask
        places = torch.arange(1, line.shape[1] + 1, device=mask.device)
        ends.append((line * places).amax(1))
    return torch.stack(ends, 1).tolist()
