"""Local and dilated groups of a map or volume (D-Former, Wu et al. 2022, arXiv 2201.00462), on any size.

    local     consecutive boxes of `group` tokens an axis
    dilated   on each axis token i belongs to group i mod I,  I = ceil(L / interval) interval // group, at least 1

and softmax(q k^T / sqrt(d)) v inside each group. A dilated group has about `group` tokens an axis, I apart, spread
over the whole axis. A map that is smaller than the group on both of its last two axes is one group.

Decided: the groups are chosen from the size of each call. The release fills axes up and masks what it filled, except in
dilated groups where only the first axis was filled (there zeros attend, with the biases of k and v); it asks only the
last axis but one whether the map is small; and it keeps what a small map made of a layer for all later calls.
`official=True` has the first two; the third depends on the order of calls and is not reproduced. Here nothing is filled
up: the groups at a border are smaller. An axis on which the release's I would be 0 has I = 1.
"""

__all__ = ["DilatedGroupAttention"]

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from core.layout import grid_of
from core.mixers.base import Mixer
from core.mixers.groups import GroupAttention
from core.partitions import Partition, Strided, Whole, Windows


class DilatedGroupAttention(Mixer):
    """Tokens attend to the tokens of their group; no mask, because groups depend on the extent of the map.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        group: tokens a group, an axis; its length is the rank of the grids.
        interval: what the axes are thought to be filled up to a multiple of in dilated groups; None = local groups.
        bias: whether q, k and v have one.
        dropout: of attention weights.
        official: see above; for checkpoints on maps that are not square.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        group: Sequence[int],
        interval: int | None = None,
        *,
        bias: bool = True,
        dropout: float = 0.0,
        official: bool = False,
    ) -> None:
        super().__init__()
        if min(group) < 1 or (interval is not None and interval < 1):
            raise ValueError(
                f"DilatedGroupAttention: group {tuple(group)} and interval {interval}; give numbers from 1 on"
            )
        self.groups = GroupAttention(dim, heads, bias=bias, score_bias=None, dropout=dropout)
        self.group, self.interval, self.official = tuple(group), interval, official

    def forward(self, x: Tensor) -> Tensor:
        """x (B, *grid, dim).

        Raises:
            ValueError: for a grid of another rank than the group's.
        """
        grid = grid_of(x)
        if len(grid) != len(self.group):
            raise ValueError(
                f"DilatedGroupAttention: tokens {tuple(x.shape)} for groups {self.group}; give one size a grid axis"
            )
        extra = self._attending(grid)
        if not extra:
            return self.groups(x, self.partition(grid).plan(grid, device=x.device), None)
        wide = F.pad(x, (0, 0, *(0, 0) * (len(grid) - 1), 0, extra))
        plan = self.partition(grid_of(wide)).plan(grid_of(wide), device=x.device)
        return self.groups(wide, plan, None)[:, : grid[0]]

    def partition(self, grid: tuple[int, ...]) -> Partition:
        """Who meets whom on a map of this size."""
        if self._small(grid):
            return Whole()
        if self.interval is None:
            return Windows(self.group)
        filled = (-(-length // self.interval) * self.interval for length in grid)
        steps = tuple(max(length // size, 1) for length, size in zip(filled, self.group, strict=True))
        return Strided(tuple(-(-length // step) for length, step in zip(grid, steps, strict=True)), steps)

    def _small(self, grid: tuple[int, ...]) -> bool:
        fits = [length < size for length, size in zip(grid, self.group, strict=True)][-2:]
        return fits[0] if self.official else all(fits)

    def _attending(self, grid: tuple[int, ...]) -> int:
        """How many slices of zeros attend, as the release has it."""
        if not self.official or self.interval is None or self._small(grid):
            return 0
        first, *others = (-length % self.interval for length in grid)
        return 0 if any(others) else first
