"""Attention along one axis of a grid (Ho et al. 2019); a stack of one mixer an axis is the published form.

y = W_o concat_h softmax(q_h k_h^T / sqrt(d) + bias) v_h over the tokens of a row (column, ...)
"""

__all__ = ["AxialAttention"]

from torch import Tensor

from core.layout import grid_of, zero_padding
from core.mixers.base import Mixer
from core.mixers.groups import GroupAttention
from core.partitions import Axis
from core.positions import ScoreBias


class AxialAttention(Mixer):
    """Tokens attend along one axis of the grid.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        axis: number of the grid axis, from the front or, negative, from the back.
        bias: whether q, k and v have one.
        score_bias: added to the scores; reads the place on the axis (its other coordinates are 0).
        dropout: of attention weights.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        axis: int,
        *,
        bias: bool = True,
        score_bias: ScoreBias | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.groups = GroupAttention(dim, heads, bias=bias, score_bias=score_bias, dropout=dropout)
        self.partition = Axis(axis)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, *grid, dim)."""
        x = zero_padding(x, mask)
        return zero_padding(self.groups(x, self.partition.plan(grid_of(x), device=x.device), mask), mask)
