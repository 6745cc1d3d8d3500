"""Attention to fewer keys (spatial reduction of PVT, Wang et al. 2021, as SegFormer, Xie et al. 2021, has it):

    k, v of norm(W_r patch),   y = W_o softmax(q k^T / sqrt(d)) v

for every patch of `reduction` tokens an axis; with patches of one token it is plain attention.

Decided: a border that does not fill a patch is filled up with zeros, so every token is seen; the release leaves the
remainder out, as `official=True` does.
"""

__all__ = ["ReducedAttention"]

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from core.layout import grid_of, zero_padding
from core.mixers.attention import Attention
from core.mixers.base import Mixer
from core.resample import PatchEmbed


class ReducedAttention(Mixer):
    """Tokens attend to patches.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        reduction: tokens a patch, an axis; its length is the rank of the grids.
        bias: whether q, k and v have one.
        scale: factor of the scores; width of a head ** -0.5 by default.
        official: leave out what does not fill a patch, as the release does; for checkpoints.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        reduction: Sequence[int],
        *,
        bias: bool = True,
        scale: float | None = None,
        official: bool = False,
    ) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, bias=bias, scale=scale)
        self.reduce = PatchEmbed(dim, dim, reduction, norm=nn.LayerNorm) if prod(reduction) > 1 else None
        self.official = official

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, *grid, dim).

        Raises:
            ValueError: with `official`, for a map smaller than a patch, or for a mask, since what is left out depends
                on the extent of the map.
        """
        if self.reduce is None:
            return self.attention(x, mask=mask)
        if self.official and mask is not None:
            raise ValueError("ReducedAttention: official=True leaves a border out; leave the mask or the switch out")
        x = zero_padding(x, mask)
        patches, real, _ = self.reduce(self._cut(x) if self.official else x, mask)
        return self.attention(x, mask=mask, context=patches, context_mask=real)

    def _cut(self, x: Tensor) -> Tensor:
        assert self.reduce is not None
        sizes = [n // p * p for n, p in zip(grid_of(x), self.reduce.patch, strict=True)]
        if not all(sizes):
            raise ValueError(
                f"ReducedAttention: a map {grid_of(x)} holds no patch of {self.reduce.patch}, and official=True leaves "
                "the rest out; give a larger map or leave the switch out"
            )
        return x[(slice(None), *(slice(0, n) for n in sizes))]
