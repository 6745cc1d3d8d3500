"""Attention inside the groups of any partition of a grid.

    y = W_o concat_h softmax(q_h k_h^T / sqrt(d) + bias) v_h inside each group

Dilated windows (CrossFormer), grids (MaxViT), runs of the raster order (SReT), overlapping windows (HAT).

Decided: no mask, because the groups of some partitions depend on the extent of the map.
"""

__all__ = ["PartitionAttention"]

from torch import Tensor

from core.layout import grid_of
from core.mixers.base import Mixer
from core.mixers.groups import GroupAttention
from core.partitions import Partition
from core.positions import ScoreBias


class PartitionAttention(Mixer):
    """Tokens attend to the tokens of their group.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        partition: who meets whom.
        bias: whether q, k and v have one.
        score_bias: added to the scores; reads coordinates inside the group or of the map.
        dropout: of attention weights.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        partition: Partition,
        *,
        bias: bool = True,
        score_bias: ScoreBias | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.groups = GroupAttention(dim, heads, bias=bias, score_bias=score_bias, dropout=dropout)
        self.partition = partition

    def forward(self, x: Tensor) -> Tensor:
        """x (B, *grid, dim)."""
        return self.groups(x, self.partition.plan(grid_of(x), device=x.device), None)
