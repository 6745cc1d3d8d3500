"""Attention in crossing stripes (CSWin, Dong et al. 2022):

    y = W_o concat_h [softmax(q_h k_h^T / sqrt(d)) v_h + depthwise 3 x 3 of v_h]  inside each stripe

The first half of the channels and heads has upright stripes, `stripe` tokens wide and as high as the map, the second
half lying ones; or all of them the whole map.  The convolution stays inside a stripe too (LePE, the only position).

Decided: the last stripe of a map that does not divide is narrower, so nothing leaks.  The release's code for
segmentation puts half of the missing rows and columns on either side, as zeros behind the projection, which then take
part in the softmax; `official=True` does that.
"""

__all__ = ["StripeAttention", "Stripes"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.layout import grid_of, zero_padding
from core.mixers.base import Mixer, init_linear
from core.ops.groups import attend_bucket
from core.partitions import Windows
from core.positions import LePE


class Stripes(nn.Module):
    """One direction of stripes; a part of the mixer.

    Args:
        dim: width of its values.
        heads: number of heads.
        window: height and width of a stripe; None = the whole axis.
        scale: factor of the scores; width of a head ** -0.5 by default.
        official: fill up on both sides and let that attend.
    """

    def __init__(
        self, dim: int, heads: int, window: tuple[int | None, int | None], *, scale: float | None, official: bool
    ) -> None:
        super().__init__()
        self.heads = heads
        self.partition = Windows(window)
        self.scale = scale
        self.official = official
        self.lepe = LePE(dim)

    def forward(self, qkv: Tensor, mask: Tensor | None = None) -> Tensor:
        """Queries, keys and values (B, H, W, 3, dim), mask (B, H, W) of real tokens -> (B, H, W, dim)."""
        height, width = qkv.shape[1:3]
        top, left = (self._before(axis, length) if self.official else 0 for axis, length in ((0, height), (1, width)))
        if self.official:
            bottom, right = (self._missing(axis, n) - own for axis, n, own in ((0, height, top), (1, width, left)))
            qkv = F.pad(qkv, (0, 0, 0, 0, left, right, top, bottom))
        plan = self.partition.plan(tuple(qkv.shape[1:3]), device=qkv.device)
        real = [None] * len(plan.buckets) if mask is None else plan.split_keys(mask)
        parts = []
        for part, bucket, seen in zip(plan.split_queries(qkv), plan.buckets, real, strict=True):
            q, k, v = part.unflatten(-1, (self.heads, -1)).unbind(3)
            y = attend_bucket(q, k, v, bucket, None, seen, scale=self.scale).flatten(-2)
            assert bucket.shape is not None
            stripes = part[..., 2, :].flatten(0, 1).unflatten(1, bucket.shape)
            there = None if seen is None else seen.flatten(0, 1).unflatten(1, bucket.shape)
            parts.append(y + self.lepe(stripes, there).reshape(y.shape))
        return plan.join(parts)[:, top : top + height, left : left + width]

    def _missing(self, axis: int, length: int) -> int:
        return -length % (self.partition.window[axis] or length)

    def _before(self, axis: int, length: int) -> int:
        return self._missing(axis, length) // 2


class StripeAttention(Mixer):
    """Half of the channels attend in upright stripes, half in lying ones.

    Args:
        dim: width of the tokens (B, H, W, dim).
        heads: number of heads, even where there are stripes.
        stripe: width of the stripes; None = one group, the whole map.
        bias: whether q, k and v have one.
        scale: factor of the scores; width of a head ** -0.5 by default.
        official: fill up on both sides and let that attend, as the release does; for checkpoints.

    Raises:
        ValueError: where dim or the number of heads does not divide.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        stripe: int | None,
        *,
        bias: bool = True,
        scale: float | None = None,
        official: bool = False,
    ) -> None:
        super().__init__()
        branches = 1 if stripe is None else 2
        if heads < branches or heads % branches or dim % heads:
            raise ValueError(
                f"StripeAttention: dim {dim} and {heads} heads in {branches} directions; give a number of heads that "
                "divides dim and that the directions divide"
            )
        windows = [(None, None)] if stripe is None else [(None, stripe), (stripe, None)]
        self.official = official
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        self.branches = nn.ModuleList(
            Stripes(dim // branches, heads // branches, window, scale=scale, official=official) for window in windows
        )
        self.out = nn.Linear(dim, dim)
        init_linear(self.qkv, self.out)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, H, W, dim).

        Raises:
            ValueError: for a map of another rank, or for a mask with `official`, whose filling up depends on the map.
        """
        if len(grid_of(x)) != 2:
            raise ValueError(f"StripeAttention: a grid {grid_of(x)}; give a map (B, H, W, dim)")
        if self.official and mask is not None:
            raise ValueError("StripeAttention: official=True lets padding attend; leave the mask or the switch out")
        x = zero_padding(x, mask)
        qkv = self.qkv(x).unflatten(-1, (3, -1))
        parts = zip(self.branches, qkv.chunk(len(self.branches), -1), strict=True)
        y = torch.cat([branch(part, mask) for branch, part in parts], -1)
        return zero_padding(self.out(y), mask)
