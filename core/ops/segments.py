"""Sums over rows that carry the same number.

Shapes: x (N, C), numbers (N,) int64 below `count` -> (count, C); rows of one number may lie anywhere.

Decided: equal maxima share the gradient, as in torch's `scatter_reduce`, which takes 1.6 times as long to train through
(torch_scatter gives it to one of them).
"""

__all__ = ["segment_max", "segment_max_reference"]

from typing import Any

import torch
from torch import Tensor


def segment_max(x: Tensor, numbers: Tensor, count: int) -> Tensor:
    """Largest value of each number's rows, 0 where there is no row."""
    return _Largest.apply(x, numbers, count)


def segment_max_reference(x: Tensor, numbers: Tensor, count: int) -> Tensor:
    """The same by torch's scatter."""
    # Not from zeros with include_self=False: a maximum of 0 would share its gradient with the start.
    y = x.new_full((count, x.shape[1]), -torch.inf)
    y = y.scatter_reduce(0, numbers[:, None].expand(x.shape), x, "amax")
    return torch.where(numbers.bincount(minlength=count)[:, None] > 0, y, 0)


class _Largest(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, numbers: Tensor, count: int) -> Tensor:
        y = x.new_zeros(count, x.shape[1])
        y.scatter_reduce_(0, numbers[:, None].expand(x.shape), x, "amax", include_self=False)
        if ctx.needs_input_grad[0]:
            best = x == y.index_select(0, numbers)
            # How many rows share a maximum: whole numbers, whose sum has no order.
            shares = y.new_zeros(y.shape, dtype=torch.float32).index_add_(0, numbers, best.float())
            ctx.save_for_backward(numbers, best, shares)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        numbers, best, shares = ctx.saved_tensors
        parts = gradient / shares.clamp(min=1).to(gradient.dtype)
        return parts.index_select(0, numbers).mul_(best), None, None
