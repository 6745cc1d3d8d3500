"""Linear layer of a GELU, y = W gelu(h) + b, that keeps h alone for the backward pass and computes gelu(h) again.

Autograd keeps h for the GELU and gelu(h) for W.  The second is the widest tensor of a transformer block, and a GELU
takes a few hundredths of the products around it.
"""

__all__ = ["gelu_linear"]

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def gelu_linear(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """F.linear(F.gelu(h), weight, bias).

    Args:
        h: (..., n).
        weight: (m, n).
        bias: (m,), or None.
    """
    learned = h.requires_grad or weight.requires_grad
    plain = torch.compiler.is_compiling() or torch.is_autocast_enabled(h.device.type)
    if plain or not learned or not torch.is_grad_enabled():
        return F.linear(F.gelu(h), weight, bias)
    return _GeluLinear.apply(h, weight, bias)  # type: ignore[no-any-return]


class _GeluLinear(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(F.gelu(h), weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        h, weight, _ = inputs
        ctx.save_for_backward(h, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        h, weight = ctx.saved_tensors
        dh = dweight = dbias = None
        rows = grad.reshape(-1, grad.shape[-1])
        if ctx.needs_input_grad[0]:
            dh = torch.ops.aten.gelu_backward(grad @ weight, h)
        if ctx.needs_input_grad[1]:
            dweight = rows.mT @ F.gelu(h).reshape(-1, h.shape[-1])
        if ctx.needs_input_grad[2]:
            dbias = rows.sum(0)
        return dh, dweight, dbias
