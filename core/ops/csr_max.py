"""The largest of the columns of each row of a CSR relation, in every channel.

    y_ic = max_{e in row i} x_{j(e) c}, 0 where row i has no edges

Shapes: x (M, C) -> (R, C).  Equal maxima share the gradient, as in `segment_max`; how many there are is counted in the
forward pass, so that no edge keeps anything.
"""

__all__ = ["csr_max", "csr_max_reference"]

from typing import Any

import torch
from torch import Tensor

from .csr import Csr, loops
from .segments import segment_max


@torch.compiler.disable
def csr_max(x: Tensor, csr: Csr) -> Tensor:
    """Largest of each row; NaN where one is NaN.

    Args:
        x: (M, C).
        csr: R rows over M columns.
    """
    if len(x) != csr.width:
        raise ValueError(f"csr_max: x has {len(x)} rows, the relation {csr.width} columns; they must be equal.")
    if loops(x) is None or x.dtype not in (torch.float32, torch.float64):
        return segment_max(x.index_select(0, csr.columns), csr.numbers, csr.rows)
    csr.ensure()
    return _Largest.apply(x.contiguous(), csr)


def csr_max_reference(x: Tensor, csr: Csr) -> Tensor:
    """The same by torch's scatter of a copy for every edge.

    It starts from -inf: torch's gradient takes a start of 0 for one more of the equal maxima, even where told not to
    include it.
    """
    parts = x.index_select(0, csr.columns)
    y = x.new_full((csr.rows, x.shape[1]), -torch.inf)
    y = y.scatter_reduce(0, csr.numbers[:, None].expand(parts.shape), parts, "amax")
    return torch.where(csr.degrees[:, None] > 0, y, 0)


class _Largest(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, csr: Csr) -> Tensor:
        compiled = loops(x)
        assert compiled is not None
        y = x.new_empty(csr.rows, x.shape[1])
        shares = torch.empty(y.shape, dtype=torch.int32)
        arrays = [t.detach().numpy() for t in (csr.columns, x, y, shares)]
        compiled.spread(compiled.largest, csr.offsets.numpy(), x.shape[1], *arrays)
        ctx.save_for_backward(x, y, shares)
        ctx.csr = csr
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, y, shares = ctx.saved_tensors
        compiled, turned = loops(x), ctx.csr.transposed
        assert compiled is not None
        parts = (gradient / shares.clamp(min=1)).contiguous()
        z = torch.empty_like(x)
        arrays = [t.detach().numpy() for t in (turned.columns, x, y, parts, z)]
        compiled.spread(compiled.largest_backward, turned.offsets.numpy(), x.shape[1], *arrays)
        return z, None
