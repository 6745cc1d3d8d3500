"""Attention whose windows of keys overlap (HAT, Chen et al. 2023; block-local attention with a reach on sequences).

    y = W_o concat_h softmax(q_h k_h^T / sqrt(d) + B[p_q - p_k]) v_h,   queries of a window, keys of it and its surround

The keys of a window of w tokens are w + 2 overlap tokens around it, so neighbouring windows exchange tokens without a
shift.  The bias reads one table of (2 (w + overlap) - 1)^2 rows.

Decided: at the map's edge there are fewer keys.  The release fills keys and values up with zeros after their projection
and attends to those (score = bias alone), which takes weight from the real ones; `official=True` does that too.
"""

__all__ = ["OverlappingAttention"]

from collections.abc import Sequence

from torch import Tensor

from core.layout import grid_of, zero_padding
from core.mixers.base import Mixer
from core.mixers.groups import GroupAttention
from core.partitions import Overlapping
from core.positions import RelativeTable


class OverlappingAttention(Mixer):
    """Tokens attend to their window and to what lies up to `overlap` tokens around it.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        window: window size an axis; its length is the grids' rank.
        overlap: how far keys reach beyond the window, an axis, on each side.
        bias: whether q, k and v have one.
        scale: factor of the scores; width of a head ** -0.5 by default.
        dropout: of attention weights.
        official: keys beyond the map count as zeros, as in the release; for checkpoints.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window: Sequence[int],
        overlap: Sequence[int],
        *,
        bias: bool = True,
        scale: float | None = None,
        dropout: float = 0.0,
        official: bool = False,
    ) -> None:
        super().__init__()
        if len(window) != len(overlap) or min(window) < 1 or min(overlap) < 0:
            raise ValueError(
                f"OverlappingAttention: window {tuple(window)} and overlap {tuple(overlap)}; "
                "give one window from 1 and one overlap from 0 an axis"
            )
        table = RelativeTable(heads, [size + reach for size, reach in zip(window, overlap, strict=True)])
        self.groups = GroupAttention(dim, heads, bias=bias, score_bias=table, dropout=dropout, scale=scale)
        self.partition = Overlapping(tuple(window), tuple(overlap), tuple(overlap), beyond=official)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, *grid, dim).

        Raises:
            ValueError: for a mask with `official`, whose keys beyond the map count.
        """
        if mask is not None and self.partition.beyond:
            raise ValueError("OverlappingAttention: official=True counts keys beyond the map; leave out mask or switch")
        x = zero_padding(x, mask)
        return zero_padding(self.groups(x, self.partition.plan(grid_of(x), device=x.device), mask), mask)
