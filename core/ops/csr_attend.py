"""Softmax over the edges of each row of a CSR relation, and the attention of graph attention networks on it (Velickovic
et al. 2018, "Graph attention networks"):

    a_e = softmax_{e in row i} LeakyReLU(s_{j(e)} + t_i),   y_i = sum_e a_e x_{j(e)}, a head at a time

Shapes: x (M, H, D), s (M, H), t (R, H) -> (R, H, D); `csr_softmax` takes logits (E, H) of any origin, whose result
weighs a `csr_sum`. A row without edges gives 0.

The fused form keeps the maximum and the sum of each row, (R, H) each, and computes the weights again in the backward
pass: nothing of an edge is kept. LeakyReLU rises, so the largest logit of a row is that of its largest s.
"""

__all__ = ["csr_attend", "csr_attend_reference", "csr_softmax", "csr_softmax_reference"]

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from .csr import Csr, csr_sum, csr_sum_reference, loops


@torch.compiler.disable
def csr_softmax(logits: Tensor, csr: Csr) -> Tensor:
    """Softmax over the edges of each row.

    Args:
        logits: (E,) or (E, H); -inf has weight 0.
        csr: R rows.
    """
    if len(logits) != csr.edges:
        raise ValueError(f"csr_softmax: there are {len(logits)} logits and {csr.edges} edges; they must be as many.")
    dtype = torch.promote_types(logits.dtype, torch.float32)
    flat = logits.reshape(csr.edges, logits.shape[1:].numel()).to(dtype).contiguous()
    form = csr_softmax_reference
    if loops(logits):
        csr.ensure()
        form = _Softmax.apply
    return form(flat, csr).view(logits.shape).to(logits.dtype)


def csr_softmax_reference(logits: Tensor, csr: Csr) -> Tensor:
    """The same by torch's scatter."""
    rows = csr.numbers
    with torch.no_grad():
        # Any number near the largest does: it cancels.
        shape = (csr.rows, *logits.shape[1:])
        at = rows.view(-1, *[1] * (logits.dim() - 1)).expand(logits.shape)
        top = logits.new_full(shape, -torch.inf).scatter_reduce_(0, at, logits, "amax")
        top = top.masked_fill(top == -torch.inf, 0)
    weights = (logits - top.index_select(0, rows)).exp()
    total = weights.new_zeros(shape).index_add(0, rows, weights)
    return weights / total.index_select(0, rows).clamp(min=torch.finfo(weights.dtype).tiny)


@torch.compiler.disable
def csr_attend(x: Tensor, source: Tensor, target: Tensor, csr: Csr, slope: float = 0.2) -> Tensor:
    """Attention over the edges of each row whose logits are a sum of one number of each end.

    Args:
        x: (M, H, D) values of the columns.
        source: (M, H) numbers of the columns.
        target: (R, H) numbers of the rows.
        csr: R rows over M columns.
        slope: of the leaky step below 0, not negative.

    Raises:
        ValueError: shapes do not belong to `csr`, or the slope is negative.
    """
    if x.dim() != 3 or source.shape != x.shape[:2] or len(x) != csr.width or target.shape != (csr.rows, x.shape[1]):
        raise ValueError(
            f"csr_attend: x is {tuple(x.shape)}, source {tuple(source.shape)} and target {tuple(target.shape)}; {csr} "
            "needs (M, H, D), (M, H) and (R, H)."
        )
    if slope < 0:
        raise ValueError(f"csr_attend: slope {slope} must not be negative.")
    dtype = torch.promote_types(x.dtype, torch.float32)
    if loops(x):
        csr.ensure()
        given = [t.to(dtype).contiguous() for t in (x, source, target)]
        return _Attend.apply(*given, csr, slope).to(x.dtype)
    logits = source.index_select(0, csr.columns) + target.index_select(0, csr.numbers)
    return csr_sum(x, csr, csr_softmax(leaky_relu(logits, slope), csr))


def csr_attend_reference(x: Tensor, source: Tensor, target: Tensor, csr: Csr, slope: float = 0.2) -> Tensor:
    """With a copy of x for every edge."""
    logits = source.index_select(0, csr.columns) + target.index_select(0, csr.numbers)
    return csr_sum_reference(x, csr, csr_softmax_reference(leaky_relu(logits, slope), csr))


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, csr: Csr) -> Tensor:
        compiled = loops(logits)
        assert compiled is not None
        y = torch.empty_like(logits)
        compiled.spread(compiled.softmax, csr.offsets.numpy(), 8 * logits.shape[1], logits.detach().numpy(), y.numpy())
        ctx.save_for_backward(y)
        ctx.csr = csr
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        compiled, z = loops(y), torch.empty_like(y)
        assert compiled is not None
        arrays = [t.detach().numpy() for t in (y, gradient.contiguous(), z)]
        compiled.spread(compiled.softmax_backward, ctx.csr.offsets.numpy(), y.shape[1], *arrays)
        return z, None


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, source: Tensor, target: Tensor, csr: Csr, slope: float) -> Tensor:
        compiled = loops(x)
        assert compiled is not None
        y = x.new_empty(csr.rows, *x.shape[1:])
        tops, totals = torch.empty_like(target), torch.empty_like(target)
        arrays = [t.detach().numpy() for t in (csr.columns, x, source, target)]
        made = [t.numpy() for t in (y, tops, totals)]
        leak = tops.numpy().dtype.type(slope)
        compiled.spread(compiled.attend, csr.offsets.numpy(), _cost(x), *arrays, leak, *made)
        ctx.save_for_backward(x, source, target, y, tops, totals)
        ctx.csr, ctx.slope = csr, leak
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, source, target, y, tops, totals = ctx.saved_tensors
        compiled, csr, gradient = loops(x), ctx.csr, gradient.contiguous()
        assert compiled is not None
        inner = torch.einsum("rhd,rhd->rh", gradient, y)
        of_x, of_source, of_target = (torch.empty_like(t) for t in (x, source, target))
        of_logits = x.new_empty(csr.edges, x.shape[1])
        turned = csr.transposed
        arrays = [t.detach().numpy() for t in (turned.columns, csr.order, x, source, target)]
        more = [t.detach().numpy() for t in (tops, totals, gradient, inner, of_x, of_source, of_logits)]
        compiled.spread(compiled.attend_backward, turned.offsets.numpy(), 2 * _cost(x), *arrays, ctx.slope, *more)
        rows = of_logits.numpy(), of_target.numpy()
        compiled.spread(compiled.attend_rows, csr.offsets.numpy(), x.shape[1], *rows)
        return of_x, of_source, of_target, None, None


def _cost(x: Tensor) -> int:
    """Of an edge, in numbers read: an exponential is worth about eight."""
    return x.shape[1] * (x.shape[2] + 8)
