"""A linear layer of something cheap, which is computed again in the backward pass instead of kept:

    y = f(inputs) W^T + b

Kept are the inputs, W and b; f is norms, gates and activations of what other layers keep anyway, never a product.  What
f costs is paid once more, a few passes over its result, against the memory of that result and of all between.
"""

__all__ = ["linear_of"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def linear_of(function: Callable[..., Tensor], weight: Tensor, bias: Tensor | None, *inputs: Tensor) -> Tensor:
    """F.linear(function(*inputs), weight, bias).

    Args:
        function: differentiable and without randomness; all that it needs a gradient for is an input.
        weight: (out, in).
        bias: (out,) or None.
        inputs: what the function is called with.
    """
    wanted = torch.is_grad_enabled() and any(t.requires_grad for t in (weight, *inputs))
    if not wanted or torch.compiler.is_compiling() or torch.is_autocast_enabled(weight.device.type):
        return F.linear(function(*inputs), weight, bias)
    return _LinearOf.apply(function, weight, bias, *inputs)


class _LinearOf(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, function: Callable[..., Tensor], weight: Tensor, bias: Tensor | None, *inputs: Tensor
    ) -> Tensor:
        ctx.save_for_backward(weight, *inputs)
        ctx.function, ctx.bias = function, bias is not None
        return F.linear(function(*inputs), weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, *inputs = ctx.saved_tensors
        wanted = ctx.needs_input_grad[3:]
        leaves = [t.detach().requires_grad_(need) for t, need in zip(inputs, wanted, strict=True)]
        with torch.enable_grad():
            x = ctx.function(*leaves)
        rows = gradient.flatten(0, -2)
        of_weight = rows.mT @ x.detach().flatten(0, -2) if ctx.needs_input_grad[1] else None
        of_bias = rows.sum(0) if ctx.bias else None
        of_inputs: list[Tensor | None] = [None] * len(leaves)
        if any(wanted):
            given = [t for t in leaves if t.requires_grad]
            found = iter(torch.autograd.grad(x, given, gradient @ weight))
            of_inputs = [next(found) if t.requires_grad else None for t in leaves]
        return None, of_weight, of_bias, *of_inputs
