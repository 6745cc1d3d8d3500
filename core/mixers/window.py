"""Attention in windows (Swin, Liu et al. 2021): softmax(q k^T / sqrt(d) + B[p_q - p_k]) v inside each window.

Windows start at `shift`, which are the groups that a roll with a region mask gives. On a ragged set with coordinates
the windows are boxes of its coordinates (SST, ConDaFormer).

Decided: the release fills a map that does not divide with zeros after the norm and lets those attend (they carry the
biases of k and v), and it shifts a map that fits into one window; here partial windows stay partial and a single window
is not shifted, so nothing leaks. `official=True` reproduces the release. With a mask, whether an axis fits into one
window is asked of each sample's real extent, so that a small sample gives the same alone and padded.
"""

__all__ = ["WindowAttention"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from core.layout import Ragged, Tokens, grid_of, zero_padding
from core.mixers.base import Mixer
from core.mixers.groups import GroupAttention
from core.partitions import Plan, Windows, group_plan, window_ids
from core.positions import RelativeTable, ScoreBias


class WindowAttention(Mixer):
    """Tokens attend to the tokens of their window.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        window: window size an axis (in the unit of the coordinates for ragged sets); its length is the grids' rank.
        shift: where the first full window starts, an axis; 0 by default. Swin alternates 0 and window // 2.
        bias: whether q, k and v have one.
        make_score_bias: makes what is added to the scores from heads and window; None = nothing.
        scale: factor of the scores; width of a head ** -0.5 by default.
        dropout: of attention weights.
        official: fill up, attend to what was filled and shift single windows, as the release does; for checkpoints.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window: Sequence[int],
        *,
        shift: Sequence[int] | None = None,
        bias: bool = True,
        make_score_bias: Callable[[int, Sequence[int]], ScoreBias] | None = RelativeTable,
        scale: float | None = None,
        dropout: float = 0.0,
        official: bool = False,
    ) -> None:
        super().__init__()
        score_bias = None if make_score_bias is None else make_score_bias(heads, window)
        self.groups = GroupAttention(dim, heads, bias=bias, score_bias=score_bias, dropout=dropout, scale=scale)
        self.partition = Windows(tuple(window), tuple(shift or (0,) * len(window)), shift_single=official)
        self.official = official

    def forward(self, x: Tokens, *, mask: Tensor | None = None) -> Tokens:
        """x (B, *grid, dim), or Ragged with coordinates and without a mask.

        Raises:
            ValueError: for a mask with a ragged set or with `official`, whose filling up depends on the map's size.
        """
        if isinstance(x, Ragged):
            if mask is not None:
                raise ValueError("WindowAttention: a ragged set has no padding; leave the mask out")
            return x.with_tokens(self.groups(x.tokens[None], self._ragged_plan(x), None)[0])
        if mask is None:
            return self._filled(x) if self.official else self._mix(x, self.partition, None)
        if self.official:
            raise ValueError("WindowAttention: official=True lets padding attend; leave the mask or the switch out")
        x = zero_padding(x, mask)
        kinds = self._kinds(mask)
        if len(kinds) == 1:
            return zero_padding(self._mix(x, next(iter(kinds)), mask), mask)
        y = torch.zeros_like(x)
        for partition, samples in kinds.items():
            y = y.index_copy(0, samples, self._mix(x[samples], partition, mask[samples]))
        return zero_padding(y, mask)

    def _mix(self, x: Tensor, partition: Windows, mask: Tensor | None) -> Tensor:
        return self.groups(x, partition.plan(grid_of(x), device=x.device), mask)

    def _kinds(self, mask: Tensor) -> dict[Windows, Tensor]:
        """The samples that share the axes on which they are shifted, by the partition for them."""
        window, shift = self.partition.window, self.partition.shift
        if not any(shift):
            return {self.partition: torch.arange(len(mask), device=mask.device)}
        rows = []
        for axis, size in enumerate(window):
            line = mask.movedim(axis + 1, 1).reshape(len(mask), mask.shape[axis + 1], -1).any(2)
            places = torch.arange(1, line.shape[1] + 1, device=mask.device)
            rows.append((line * places).amax(1) > (size or line.shape[1]))
        shifted = torch.stack(rows, 1)
        kinds: dict[Windows, list[int]] = {}
        for sample, row in enumerate(shifted.tolist()):
            own = tuple(s if moved else 0 for s, moved in zip(shift, row, strict=True))
            kinds.setdefault(Windows(window, own, shift_single=True), []).append(sample)
        return {partition: torch.tensor(samples, device=mask.device) for partition, samples in kinds.items()}

    def _ragged_plan(self, x: Ragged) -> Plan:
        sizes = [float(size) for size in self.partition.window if size is not None]
        (ids,), (origins,) = window_ids([x], sizes, self.partition.shift or None)
        assert x.coords is not None
        return group_plan(ids, ids, x.coords, x.coords, origins)

    def _filled(self, x: Tensor) -> Tensor:
        """The release's way: fill up to a multiple of the window, attend to all, cut off."""
        sizes = [size or length for size, length in zip(self.partition.window, grid_of(x), strict=True)]
        sides = [n for size, length in zip(sizes, grid_of(x), strict=True) for n in (-length % size, 0)][::-1]
        if not any(sides):
            return self._mix(x, self.partition, None)
        y = self._mix(F.pad(x, (0, 0, *sides)), self.partition, None)
        return y[(slice(None), *(slice(0, length) for length in grid_of(x)))]
