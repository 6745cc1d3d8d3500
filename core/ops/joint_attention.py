"""Joint local and global attention (FLASH, Hua et al. 2022; as MossFormer has it, Zhao & Ma 2023):

    o_i = sum_(j in group of i) relu(q_i . k_j / g)^2 v_j  +  lq_i sum_j lk_j^T v_j / n

Squared-ReLU attention inside groups of g frames and linear attention over the n frames of the sequence, both over the
same values.  Causal: j <= i inside the group, and the second sum runs over the groups before that of i, divided by g.

Shapes: the four projections (B, T, 4, d) in the order q, lq, k, lk; values (B, T, E) -> (B, T, E).  Frames that do not
exist have values 0, and `lengths` (B,) says how many n there are.  The last group may be short; it is divided by g too.

`offset_rotate` makes the four projections out of one (Hua's offset-scale) and turns their first channels by rotary
positions, pairs (2 i, 2 i + 1); the turns are complex numbers (T, r / 2), the same for every layer.

Decided: nothing is filled up to the group's length: full groups are one batched product, the rest is another, and both
are added to the linear part in place.  For the backward pass the weights' roots are kept, g numbers a frame.
"""

__all__ = ["joint_attention", "joint_attention_reference", "offset_rotate", "turns"]

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from core.ops.dropout import dropout


def joint_attention(
    projections: Tensor,
    values: Tensor,
    group: int,
    *,
    lengths: Tensor | None = None,
    causal: bool = False,
    rate: float = 0.0,
) -> Tensor:
    """Both attentions together; memory T (g + d + E), never T^2.

    Args:
        projections: q, lq, k, lk.
        values: 0 at frames that do not exist.
        group: g, frames a group.
        lengths: n of each sequence; T by default. Without effect where causal.
        causal: a frame sees itself and those before it in its group, and the groups before.
        rate: share of the local weights that is dropped; 0 outside of training.
    """
    if torch.is_autocast_enabled(values.device.type):
        with torch.autocast(values.device.type, enabled=False):
            args = projections.to(values.dtype), values, group
            return joint_attention(*args, lengths=lengths, causal=causal, rate=rate)
    if causal or torch.compiler.is_compiling():
        return _grouped(projections, values, group, lengths, causal, rate)
    count = values.shape[1] if lengths is None else lengths.clamp(min=1).to(values.dtype)[:, None, None]
    return _JointAttention.apply(projections, values, group, count, rate)


def joint_attention_reference(
    projections: Tensor, values: Tensor, group: int, *, lengths: Tensor | None = None, causal: bool = False
) -> Tensor:
    """The definition through (T, T) matrices."""
    q, linear_q, k, linear_k = projections.unbind(2)
    number = torch.arange(values.shape[1], device=values.device) // group
    same, before = number[:, None] == number, number[:, None] > number
    local = torch.relu(q @ k.mT / group).square() * same
    far = linear_q @ linear_k.mT
    if causal:
        return (local.tril() + far * before / group) @ values
    count = values.shape[1] if lengths is None else lengths.clamp(min=1)[:, None, None]
    return (local + far / count) @ values


def turns(length: int, channels: int, *, base: float = 10000.0, like: Tensor) -> Tensor:
    """e^(i t f_c), f_c = base^(-2 c / channels), as complex (length, channels / 2).

    Args:
        length: frames.
        channels: how many are turned; even.
        base: ratio of the longest to the shortest wave.
        like: a tensor of the device and type that will be turned.
    """
    frequency = base ** -(torch.arange(0, channels, 2, device=like.device, dtype=torch.float64) / channels)
    # Angles of long recordings need more digits than float32 has.
    angle = torch.arange(length, device=like.device, dtype=torch.float64)[:, None] * frequency
    wide = torch.promote_types(like.dtype, torch.float32)
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex128 if wide == torch.float64 else torch.complex64)


def offset_rotate(x: Tensor, scale: Tensor, offset: Tensor, turn: Tensor) -> Tensor:
    """H affine copies of x, turned: x (B, T, d), scale and offset (H, d), turn (T, r / 2) -> (B, T, H, d).

    Keeps x alone for the backward pass.
    """
    wide = turn.real.dtype
    # Complex views need an even width.
    if torch.compiler.is_compiling() or x.shape[-1] % 2:
        return _OffsetRotate.copies(x.to(wide), scale.to(wide), offset.to(wide), turn).to(x.dtype)
    return _OffsetRotate.apply(x.to(wide), scale.to(wide), offset.to(wide), turn).to(x.dtype)


class _OffsetRotate(torch.autograd.Function):
    @staticmethod
    def copies(x: Tensor, scale: Tensor, offset: Tensor, turn: Tensor) -> Tensor:
        """The same in operations that torch differentiates."""
        y = x[..., None, :] * scale + offset
        first, rest = y.tensor_split([2 * turn.shape[-1]], -1)
        pairs = first.unflatten(-1, (-1, 2))
        even, odd, cos, sin = pairs[..., 0], pairs[..., 1], turn.real[:, None], turn.imag[:, None]
        turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2)
        return torch.cat([turned, rest], -1)

    @staticmethod
    def turn_in_place(x: Tensor, turn: Tensor) -> Tensor:
        first = x[..., : 2 * turn.shape[-1]].unflatten(-1, (-1, 2))
        torch.view_as_complex(first).mul_(turn[:, None])
        return x

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, offset: Tensor, turn: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale, turn)
        copies = x.new_empty(*x.shape[:-1], *scale.shape)
        return _OffsetRotate.turn_in_place(torch.addcmul(offset, x[..., None, :], scale, out=copies), turn)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, scale, turn = ctx.saved_tensors
        gradient = _OffsetRotate.turn_in_place(gradient.clone(memory_format=torch.contiguous_format), turn.conj())
        of_scale = (gradient * x[..., None, :]).sum((0, 1))
        return (gradient * scale).sum(-2), of_scale, gradient.sum((0, 1)), None


def _pieces(length: int, group: int) -> list[tuple[slice, int]]:
    """The full groups and the rest: where they are, and their length."""
    full = length - length % group
    pieces = [(slice(0, full), group), (slice(full, length), length - full)]
    return [(where, size) for where, size in pieces if where.stop > where.start]


class _JointAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, projections: Tensor, values: Tensor, group: int, count: Any, rate: float) -> Tensor:
        q, linear_q, k, linear_k = projections.unbind(2)
        # The mean first, so that half precision does not overflow in the sum.
        state = (linear_k / count).mT @ values
        y = linear_q @ state
        roots, masks = [], []
        for where, size in _pieces(values.shape[1], group):
            for row in range(len(values)):
                cut = [t[row, where].unflatten(0, (-1, size)) for t in (q, k, values, y)]
                root = torch.relu_((cut[0] @ cut[1].mT).div_(group))
                weights = root.square()
                if rate:
                    masks.append(dropout(torch.ones_like(root), rate, True))
                    weights = weights.mul_(masks[-1])
                cut[3].baddbmm_(weights, cut[2])
                roots.append(root)
        ctx.save_for_backward(projections, values, state, *roots, *masks)
        ctx.group, ctx.count, ctx.dropped = group, count, bool(masks)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        projections, values, state, *kept = ctx.saved_tensors
        half = len(kept) // 2 if ctx.dropped else len(kept)
        roots, masks = kept[:half], kept[half:]
        q, linear_q, k, linear_k = projections.unbind(2)
        gradient = gradient.contiguous()
        of_projections = torch.empty_like(projections, memory_format=torch.contiguous_format)
        of_q, of_linear_q, of_k, of_linear_k = of_projections.unbind(2)
        of_linear_q.copy_(gradient @ state.mT)
        of_state = linear_q.mT @ gradient
        of_linear_k.copy_((values @ of_state.mT).div_(ctx.count))
        of_values = (linear_k / ctx.count) @ of_state
        number = 0
        for where, size in _pieces(values.shape[1], ctx.group):
            for row in range(len(values)):
                cut = [t[row, where].unflatten(0, (-1, size)) for t in (gradient, values, of_values, q, k, of_q, of_k)]
                g, v, of_v, queries, keys, of_queries, of_keys = cut
                root, mask = roots[number], masks[number] if masks else None
                number += 1
                of_weights = g @ v.mT
                weights = root.square()
                if mask is not None:
                    weights, of_weights = weights.mul_(mask), of_weights.mul_(mask)
                of_v.baddbmm_(weights.mT, g)
                of_scores = of_weights.mul_(root).mul_(2 / ctx.group)
                of_queries.copy_(of_scores @ keys)
                of_keys.copy_(of_scores.mT @ queries)
        return of_projections, of_values, None, None, None


def _grouped(
    projections: Tensor, values: Tensor, group: int, lengths: Tensor | None, causal: bool, rate: float
) -> Tensor:
    """The same in operations that torch differentiates, the last group filled up with zeros."""
    length = values.shape[1]
    cut = [F.pad(t, (0, 0, 0, -length % group)).unflatten(1, (-1, group)) for t in (*projections.unbind(2), values)]
    q, linear_q, k, linear_k, v = cut
    weights = torch.relu(q @ k.mT / group).square()
    states = linear_k.mT @ v
    if causal:
        weights, states = weights.tril(), (states.cumsum(1) - states) / group
    elif lengths is None:
        states = states.sum(1, keepdim=True) / length
    else:
        states = states.sum(1, keepdim=True) / lengths.clamp(min=1)[:, None, None, None]
    return (dropout(weights, rate, True) @ v + linear_q @ states).flatten(1, 2)[:, :length]
