"""Gated attention of MossFormer (Zhao & Ma 2023), after FLASH (Hua et al. 2022): local and global attention with one
head, the values gated by each other.

    v, u = halves of ffconv(x'),  z = ffconv(x'),  q, lq, k, lk = rotary(gamma_h z + beta_h)
    o = (A u * v) * sigmoid(A v * u),    y = ffconv(o),    A as in `core.ops.joint_attention`

x' is x with its first half of channels one frame late ("token shift").

Decided: the three projections of x' are one product and one convolution, both attentions one product for v and u
together.  The release's causal form lets its convolutions look ahead, so that nothing about it is causal but the
attention; here the whole mixer is, and `official=True` is the release's.  The release divides the linear part by the
number of frames in the batch; here padding does not count.
"""

__all__ = ["JointAttention"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from core.layout import zero_padding
from core.mixers.base import Mixer
from core.mixers.conv_feed_forward import ConvFeedForward, expand
from core.norms import FoldedLayerNorm, ScaleNorm
from core.ops.joint_attention import joint_attention, offset_rotate, turns


class JointAttention(Mixer):
    """Local squared-ReLU and global linear attention with gates.

    Args:
        dim: width of the frames.
        hidden: width of v and u together; 4 dim by default.
        key_dim: width of queries and keys; their first 32 channels are turned.
        group: frames of a local group.
        kernel: frames the convolutions reach over.
        shift: whether half of the channels come one frame late.
        norm: builds the normalisation in front of each projection from its width.
        causal: a frame does not depend on those after it.
        official: with causal, only the attention is, as in the release.
        dropout: rate of the projections and of the local weights.
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden: int | None = None,
        key_dim: int = 128,
        group: int = 256,
        kernel: int = 17,
        shift: bool = True,
        norm: Callable[[int], ScaleNorm | FoldedLayerNorm] = ScaleNorm,
        causal: bool = False,
        official: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        hidden = hidden or 4 * dim
        if hidden % 2:
            raise ValueError(f"JointAttention: hidden {hidden} is two halves; give an even number")
        self.causal = causal and not official
        self.attention_causal = causal
        self.group = group
        self.shift = shift
        self.dropout = dropout

        def layer(width: int, out: int) -> ConvFeedForward:
            return ConvFeedForward(width, out, kernel=kernel, norm=norm, causal=self.causal, dropout=dropout)

        self.values = layer(dim, hidden)
        self.keys = layer(dim, key_dim)
        self.scale = nn.Parameter(0.02 * torch.randn(4, key_dim))
        self.offset = nn.Parameter(torch.zeros(4, key_dim))
        self.out = layer(hidden // 2, dim)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, T, dim)."""
        x = zero_padding(x, mask)
        if self.shift:
            x = shift_half(x)
        both = expand(x, [self.values, self.keys], mask)
        values, keys = both.split([self.values.conv.shape[0], self.keys.conv.shape[0]], -1)
        values = zero_padding(values, mask)
        projections = offset_rotate(keys, self.scale, self.offset, self._turns(keys))
        attended = joint_attention(
            projections,
            values,
            self.group,
            lengths=None if mask is None else mask.sum(1),
            causal=self.attention_causal,
            rate=self.dropout if self.training else 0.0,
        )
        return zero_padding(expand(gate, [self.out], mask, (attended, values)), mask)

    def _turns(self, keys: Tensor) -> Tensor:
        channels = min(32, keys.shape[-1]) // 2 * 2
        return turns(keys.shape[1], channels, like=keys)


def shift_half(x: Tensor) -> Tensor:
    """(B, T, C) whose first C / 2 channels come one frame late, 0 in the first frame."""
    half = (x.shape[-1] + 1) // 2
    late = nn.functional.pad(x[:, :-1, :half], (0, 0, 1, 0))
    return torch.cat([late, x[..., half:]], -1)


def gate(attended: Tensor, values: Tensor) -> Tensor:
    """(A u * v) * sigmoid(A v * u) of [A v, A u] and [v, u]; keeps the two arguments alone."""
    if torch.compiler.is_compiling() or attended.dtype != values.dtype:
        return _Gate.value(attended, values)
    return _Gate.apply(attended, values)


class _Gate(torch.autograd.Function):
    @staticmethod
    def value(attended: Tensor, values: Tensor) -> Tensor:
        attended_v, attended_u = attended.chunk(2, -1)
        v, u = values.chunk(2, -1)
        return attended_u * v * torch.sigmoid(attended_v * u)

    @staticmethod
    def forward(ctx: Any, attended: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(attended, values)
        attended_v, attended_u = attended.chunk(2, -1)
        v, u = values.chunk(2, -1)
        return torch.sigmoid_(attended_v * u).mul_(attended_u).mul_(v)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        attended, values = ctx.saved_tensors
        attended_v, attended_u = attended.chunk(2, -1)
        v, u = values.chunk(2, -1)
        of_attended, of_values = (
            torch.empty_like(attended),
            torch.empty_like(values, memory_format=torch.contiguous_format),
        )
        of_attended_v, of_attended_u = of_attended.chunk(2, -1)
        of_v, of_u = of_values.chunk(2, -1)
        opening = torch.sigmoid_(attended_v * u)
        passed = gradient * opening
        torch.mul(passed, v, out=of_attended_u)
        torch.mul(passed, attended_u, out=of_v)
        # d sigmoid = s (1 - s)
        inside = passed.mul_(attended_u).mul_(v).mul_(opening.neg_().add_(1))
        torch.mul(inside, u, out=of_attended_v)
        torch.mul(inside, attended_v, out=of_u)
        return of_attended, of_values
