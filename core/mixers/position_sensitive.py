"""Position-sensitive axial attention (Axial-DeepLab, Wang et al. 2020), in the form of kMaX-DeepLab (Yu et al. 2022).

Attention along one axis whose every term knows the distance of the two tokens, from tables r shared by the heads:

    s_lm = n_1(q_l . k_m) + n_2(q_l . r^q_{m-l}) + n_3(k_m . r^k_{m-l})
    y_l  = n_4(sum_m w_lm v_m) + n_5(sum_m w_lm r^v_{m-l}),    w = softmax_m(s)

with q, k and v behind a batch norm and every n a batch norm of its own (n_1 .. n_3 a channel a head), which stand where
other attention has 1 / sqrt(d). There is no projection behind it. A map takes two of them, columns first.

Outside of training the shifts of n_1 .. n_3 are left out: they are the same for all m, and no softmax sees them.
Scores are compared in single precision at least.

Decided: tables serve any length; tokens farther apart than `span` - 1 use the last entry, where the release stops. With
a mask, padding is no key and takes no part in the statistics. One value alone has no variance: it is normed by the
running statistics in training, too.
"""

__all__ = ["PositionSensitiveAttention", "TokenBatchNorm"]

import torch
from torch import Tensor, nn

from core.layout import grid_of, zero_padding
from core.mixers.base import Mixer


class TokenBatchNorm(nn.BatchNorm1d):
    """BatchNorm of tokens (B, *grid, dim) with the constants of DeepLab's TensorFlow code.

    Args:
        dim: width of the tokens.
        eps: added to the variance.
        momentum: share of the new statistics in the running ones.
        gain: first value of the weight.
    """

    def __init__(self, dim: int, eps: float = 1e-3, momentum: float = 0.01, gain: float = 1.0) -> None:
        super().__init__(dim, eps, momentum)
        nn.init.constant_(self.weight, gain)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, *grid, dim), mask (B, *grid), True = real; padding becomes 0 and is left out of the statistics."""
        if self.training and x.numel() > x.shape[-1]:
            if mask is None:
                return super().forward(x.flatten(0, -2)).view(x.shape)
            if int(mask.sum()) > 1:
                real = super().forward(x[mask])
                return real.new_zeros(x.shape).masked_scatter(mask[..., None], real)
        scale, shift = self.scale_shift()
        return zero_padding(torch.addcmul(shift, x, scale), mask)

    def scale_shift(self) -> tuple[Tensor, Tensor]:
        """Factor and summand (dim,) that the norm is outside of training."""
        assert self.running_mean is not None and self.running_var is not None
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        return scale, self.bias - self.running_mean * scale


class PositionSensitiveAttention(Mixer):
    """Tokens attend along one axis of the grid.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        axis: number of the grid axis, from the front or, negative, from the back.
        key_dim: width of queries and keys, all heads together; dim / 2 by default.
        value_dim: width of the values and of the result; dim by default.
        span: lengths up to this one have an entry for every distance.

    Raises:
        ValueError: where the number of heads does not divide a width.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        axis: int,
        *,
        key_dim: int | None = None,
        value_dim: int | None = None,
        span: int = 255,
    ) -> None:
        super().__init__()
        key_dim, value_dim = key_dim or dim // 2, value_dim or dim
        if key_dim % heads or value_dim % heads:
            raise ValueError(
                f"PositionSensitiveAttention: widths {key_dim} of keys and {value_dim} of values with {heads} heads; "
                "give widths that the number of heads divides"
            )
        self.heads, self.axis, self.span = heads, axis, span
        self.widths = [key_dim, key_dim, value_dim]
        self.qkv = nn.Linear(dim, sum(self.widths), bias=False)
        self.qkv_norm = TokenBatchNorm(sum(self.widths))
        self.q_table, self.k_table, self.v_table = (
            nn.Parameter(torch.empty(2 * span - 1, width // heads)) for width in self.widths
        )
        self.score_norm = TokenBatchNorm(3 * heads)
        self.norm = TokenBatchNorm(2 * value_dim)
        nn.init.trunc_normal_(self.qkv.weight, std=dim**-0.5)
        for table in (self.q_table, self.k_table, self.v_table):
            nn.init.trunc_normal_(table)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, *grid, dim) -> (B, *grid, value_dim).

        Raises:
            ValueError: where the grid has no such axis.
        """
        rank = len(grid_of(x))
        if not -rank <= self.axis < rank:
            raise ValueError(
                f"PositionSensitiveAttention: axis {self.axis} of a grid {grid_of(x)}; give one from {-rank} to "
                f"{rank - 1}"
            )
        place = self.axis % rank + 1
        lines = zero_padding(x, mask).movedim(place, -2)
        there = None if mask is None else mask.movedim(place, -1)
        y = self.along(lines.flatten(0, -3), None if there is None else there.flatten(0, -2))
        return y.view(*lines.shape[:-1], y.shape[-1]).movedim(-2, place)

    def along(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Lines (G, L, dim) with mask (G, L) -> (G, L, value_dim)."""
        qkv = self.qkv_norm(self.qkv(x), mask)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in qkv.split(self.widths, -1))
        q_near, k_near, v_near = self._tables(x.shape[1], x.device)
        terms = (
            q @ k.transpose(-2, -1),
            torch.einsum("ghld,lmd->ghlm", q, q_near),
            torch.einsum("ghmd,lmd->ghlm", k, k_near),
        )
        scores = self._normed(terms, mask)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None], torch.finfo(scores.dtype).min)
        weights = scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(-1).to(v.dtype)
        content, position = weights @ v, torch.einsum("ghlm,lmd->ghld", weights, v_near)
        both = torch.stack([content, position], 1).permute(0, 3, 1, 2, 4).flatten(2)
        return self.norm(both, mask).unflatten(-1, (2, -1)).sum(-2)

    def _normed(self, terms: tuple[Tensor, Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """The sum of the normed terms (G, heads, L, L)."""
        if self.training:
            pairs = None if mask is None else mask[:, :, None] & mask[:, None]
            return (
                self.score_norm(torch.cat(terms, 1).movedim(1, -1), pairs).unflatten(-1, (3, -1)).sum(-2).movedim(-1, 1)
            )
        scales = self.score_norm.scale_shift()[0].view(3, self.heads, 1, 1)
        return terms[0] * scales[0] + terms[1] * scales[1] + terms[2] * scales[2]

    def _tables(self, length: int, device: torch.device) -> list[Tensor]:
        """Each table as (L, L, d), for a token and what it meets."""
        places = torch.arange(length, device=device)
        far = self.span - 1
        distance = ((places - places[:, None]).clamp(-far, far) + far).flatten()
        tables = (self.q_table, self.k_table, self.v_table)
        return [table.index_select(0, distance).view(length, length, -1) for table in tables]
