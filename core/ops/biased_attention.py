"""Softmax attention whose additive bias is learned, without keeping scores: o = softmax(scale * q k^T + bias) v.

Autograd, and torch's fused op as soon as the bias wants a gradient, keep the weights (G, H, n, m) of every layer, most
of what a window transformer needs in training.  Here the forward pass is the fused op on the detached bias, and the
backward pass computes the weights P again, some groups at a time (Dao et al. 2022):

    dV = P^T dO,   dS = P * (dO V^T - rowsum(dO * O)),   dQ = scale dS K,   dK = scale dS^T Q,   dbias = sum_G dS

Shapes: q (G, H, n, d), k (G, H, m, d), v (G, H, m, e) -> (G, H, n, e); bias (1 or G, H, n, m).

Decided: what a layer keeps is q, k, v, o and the bias itself, so memory is linear in n for a bias that groups share.
Second derivatives are refused with torch's own error.
"""

__all__ = ["biased_attention"]

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Scores that exist at a time in the backward pass: what stays in the caches of a processor, and what fills a GPU.
_CHUNK_CPU = 2**18
_CHUNK_GPU = 2**26


def biased_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, *, allowed: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Attention with a learned bias; linear memory in training.

    Args:
        q, k, v: (G, H, n, d), (G, H, m, d), (G, H, m, e).
        bias: (1 or G, H, n, m), added to the scores.
        allowed: boolean, True = may attend; broadcasts to (G, H, n, m).
        scale: factor of the scores, d ** -0.5 by default.

    Returns:
        (G, H, n, e); 0 for a query that may attend to nothing.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    dtype = q.dtype
    if torch.is_autocast_enabled(q.device.type):
        dtype = torch.get_autocast_dtype(q.device.type)
    q, k, v, bias = (t.to(dtype) for t in (q, k, v, bias))
    return _Biased.apply(q, k, v, bias, allowed, scale)  # type: ignore[no-any-return]


class _Biased(torch.autograd.Function):
    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, allowed: Tensor | None, scale: float) -> Tensor:
        # Detached, or the fused op sees that the bias wants a gradient and takes its slow form.
        return F.scaled_dot_product_attention(q, k, v, _addend(bias.detach(), allowed), scale=scale)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        *tensors, ctx.scale = inputs
        ctx.save_for_backward(*tensors, output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, bias, allowed, out = ctx.saved_tensors
        addend = _addend(bias, allowed)
        # Rows without keys: their softmax is not a number.
        dead = None if allowed is None else ~allowed.any(-1, keepdim=True)
        if dead is not None and not bool(dead.any()):
            dead = None
        towards = (grad * out).sum(-1, keepdim=True)
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        dbias = torch.zeros_like(bias)
        groups, heads, queries, keys = len(q), q.shape[1], q.shape[2], k.shape[2]
        chunk = _CHUNK_GPU if q.is_cuda else _CHUNK_CPU
        step = min(groups, max(1, chunk // max(1, heads * queries * keys)))
        # Two tables of scores serve all chunks: fresh ones would be fresh pages of memory each time.
        first, second = (q.new_empty(step, heads, queries, keys) for _ in range(2))
        for start in range(0, groups, step):
            part = slice(start, start + step)
            own = part if len(addend) > 1 else slice(None)
            qs, ks, vs, gs = (t[part].flatten(0, 1) for t in (q, k, v, grad))
            count = len(qs) // heads
            scores, weights = first[:count], second[:count]
            torch.bmm(qs * ctx.scale, ks.mT, out=scores.flatten(0, 1))
            torch.softmax(scores.add_(addend[own]), -1, out=weights)
            if dead is not None:
                weights.masked_fill_(dead[part] if len(dead) > 1 else dead, 0)
            weights = weights.flatten(0, 1)
            dv[part] = torch.bmm(weights.mT, gs).unflatten(0, (-1, heads))
            dscores = scores.flatten(0, 1)
            torch.bmm(gs, vs.mT, out=dscores)
            dscores.sub_(towards[part].flatten(0, 1)).mul_(weights)
            dq[part] = torch.bmm(dscores, ks).mul_(ctx.scale).unflatten(0, (-1, heads))
            dk[part] = torch.bmm(dscores.mT, qs).mul_(ctx.scale).unflatten(0, (-1, heads))
            dscores = dscores.unflatten(0, (-1, heads))
            if len(bias) > 1:
                dbias[part] = dscores
            elif len(dscores) == 1:
                dbias += dscores
            else:
                dbias += dscores.sum(0, keepdim=True)
        return dq, dk, dv, dbias, None, None


def _addend(bias: Tensor, allowed: Tensor | None) -> Tensor:
    """One addend for both, -inf where nothing may be attended to."""
    return bias if allowed is None else torch.where(allowed, bias, -torch.inf)
