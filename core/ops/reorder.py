"""Rows in another order, with a backward pass that is a gather too (autograd would add up into zeros)."""

__all__ = ["reorder"]

from typing import Any

import torch
from torch import Tensor


def reorder(x: Tensor, rows: Tensor, back: Tensor) -> Tensor:
    """x[rows] for a permutation.

    Args:
        x: (N, ...).
        rows: (N,) int64, each number once.
        back: (N,) its inverse: x[rows][back] = x.
    """
    if torch.compiler.is_compiling() or not (x.requires_grad and torch.is_grad_enabled()):
        return x.index_select(0, rows)
    return _Reorder.apply(x, rows, back)  # type: ignore[no-any-return]


class _Reorder(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, rows: Tensor, back: Tensor) -> Tensor:
        return x.index_select(0, rows)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        _, rows, back = inputs
        ctx.save_for_backward(rows, back)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        rows, back = ctx.saved_tensors
        return reorder(grad, back, rows), None, None
