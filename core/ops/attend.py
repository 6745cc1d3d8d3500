"""Softmax attention: o = softmax(scale * q k^T + bias) v (Vaswani et al. 2017), dense, cross, masked or causal.

Shapes: q (..., H, N, d), k (..., H, M, d), v (..., H, M, e) -> (..., H, N, e), with any leading axes.

Decided: a query that may attend to nothing gets 0, not NaN, and its gradients are 0. `causal` is aligned at the right
(the last query sees every key), which is what a cache of earlier keys needs; torch's own `is_causal` is aligned at the
left and is used only where both agree. The fused op is taken unless a bias wants a gradient: it would then keep all
scores, and be slower than the plain form on a CPU (0.72-0.95x). Such a bias takes the plain form for short rows and,
from 128 keys on, `core.ops.biased_attention`, which keeps no scores (measured 1.1-1.5x as fast as the plain form for
16 groups of 144 to 256 keys, 1.2x at 576, 0.95x for 8 groups of 256, 0.8x for a single one of 1024).
"""

__all__ = ["attend", "attend_reference", "causal_mask", "fused_is_faster", "keeps_no_scores"]

import torch
from torch import Tensor
from torch.nn import functional as F

from core.ops.biased_attention import biased_attention

# Up to this many keys the plain form is faster than the fused one when the bias needs a gradient.
_PLAIN_KEYS = 256
# From so many keys and pairs on, a bias that needs a gradient takes the form that keeps no scores.
_LONG_KEYS, _LONG_PAIRS = 128, 128 * 128


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Softmax attention by the fastest form that is exact here.

    Args:
        q, k, v: (..., H, N, d), (..., H, M, d), (..., H, M, e).
        bias: added to the scores; broadcasts to (..., H, N, M).
        mask: boolean, True = may attend; broadcasts to (..., H, N, M).
        causal: query i sees keys j <= i + M - N.
        scale: factor of the scores, d ** -0.5 by default.
        dropout: share of weights dropped, 0 outside training.

    Returns:
        (..., H, N, e); 0 for a query without any key.
    """
    if causal and q.shape[-2] == 1:
        causal = False  # a single last query sees everything
    if keeps_no_scores(q, k, bias, dropout):
        assert bias is not None
        return _learned(q, k, v, bias, _with_causal(mask, q, k, causal), scale)
    if not fused_is_faster(q, k, bias):
        return _plain(q, k, v, bias, _with_causal(mask, q, k, causal), scale, dropout)
    square = False
    if causal and mask is None and bias is None and q.shape[-2] == k.shape[-2]:
        square = True  # both alignments agree; the fused op then skips the upper half
    else:
        mask = _with_causal(mask, q, k, causal)
    if bias is not None:
        # One addend per score is all the fused op takes, and in the type of the queries.
        bias = bias.to(q.dtype)
        mask = bias if mask is None else torch.where(mask, bias, -torch.inf)
    lead = q.shape[:-3]
    if len(lead) != 1:
        # The fused op knows one batch axis; with more it takes a form more than twice as slow.
        q, k, v = (t.reshape(-1, *t.shape[-3:]) for t in (q, k, v))
        if mask is not None and mask.ndim > 3 and any(n > 1 for n in mask.shape[:-3]):
            mask = mask.expand(*lead, *mask.shape[-3:]).reshape(-1, *mask.shape[-3:])
    if mask is not None:
        mask = mask.reshape(mask.shape[0] if mask.ndim == 4 else 1, *(1,) * max(3 - mask.ndim, 0), *mask.shape[-3:])
    out = F.scaled_dot_product_attention(q, k, v, mask, dropout, square, scale=scale)
    return out if len(lead) == 1 else out.reshape(*lead, *out.shape[1:])


def attend_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """The definition, one query at a time over the keys it may see; arguments as for `attend`, without dropout."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = torch.einsum("...nd,...md->...nm", q, k) * scale
    if bias is not None:
        scores = scores + bias
    allowed = torch.ones_like(scores, dtype=torch.bool)
    if mask is not None:
        allowed = allowed & mask
    if causal:
        late = k.shape[-2] - q.shape[-2]
        for i in range(q.shape[-2]):
            allowed[..., i, max(i + late + 1, 0) :] = False
    # exp and its sum over the allowed keys alone; the largest score is a constant that cancels.
    largest = scores.masked_fill(~allowed, -torch.inf).amax(-1, keepdim=True).detach()
    largest = torch.where(largest.isfinite(), largest, 0.0)
    weights = torch.where(allowed, scores - largest, -torch.inf).exp()
    total = weights.sum(-1, keepdim=True)
    return (weights / torch.where(total > 0, total, 1.0)) @ v


def causal_mask(queries: int, keys: int, device: torch.device | str | None = None) -> Tensor:
    """(queries, keys) boolean, aligned at the right: the last query sees every key."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


def fused_is_faster(q: Tensor, k: Tensor, bias: Tensor | None) -> bool:
    """Whether the fused op is the faster form; it is exact wherever there are keys."""
    if not k.shape[-2]:
        return False
    learned = bias is not None and bias.requires_grad and torch.is_grad_enabled()
    return not learned or k.shape[-2] > _PLAIN_KEYS


def keeps_no_scores(q: Tensor, k: Tensor, bias: Tensor | None, dropout: float) -> bool:
    """Whether a learned bias and rows this long ask for the form that computes its scores twice."""
    if bias is None or dropout or not (bias.requires_grad and torch.is_grad_enabled()):
        return False
    # What is computed afresh in the backward pass is no single graph for the compiler.
    long = k.shape[-2] >= _LONG_KEYS and q.shape[-2] * k.shape[-2] >= _LONG_PAIRS
    return long and not torch.compiler.is_compiling()


def _learned(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """The form without scores on any leading axes."""
    lead, scores = q.shape[:-3], (*q.shape[-3:-1], k.shape[-2])
    bias = _one_lead(bias, lead).expand(-1, *scores)
    if mask is not None:
        mask = _one_lead(mask, lead)
    q, k, v = (t.reshape(-1, *t.shape[-3:]) for t in (q, k, v))
    out = biased_attention(q, k, v, bias, allowed=mask, scale=scale)
    return out.reshape(*lead, *out.shape[1:])


def _one_lead(table: Tensor, lead: torch.Size) -> Tensor:
    """A table that broadcasts to (*lead, H, n, m) as one of four axes, the first 1 where all samples share it."""
    table = table.view(*(1,) * (3 - table.ndim), *table.shape)
    if any(n > 1 for n in table.shape[:-3]):
        table = table.expand(*lead, *table.shape[-3:])
    return table.reshape(-1, *table.shape[-3:])


def _with_causal(mask: Tensor | None, q: Tensor, k: Tensor, causal: bool) -> Tensor | None:
    if not causal:
        return mask
    order = causal_mask(q.shape[-2], k.shape[-2], q.device)
    return order if mask is None else mask & order


def _plain(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, mask: Tensor | None, scale: float | None, dropout: float
) -> Tensor:
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    lead = q.shape[:-3]
    if len(lead) > 1:
        # Products of one batch axis: with more, matmul copies what it multiplies.
        q, k, v = (t.flatten(0, -4) for t in (q, k, v))
    scores = (q * scale) @ k.transpose(-2, -1)
    if len(lead) > 1:
        scores = scores.unflatten(0, lead)
    if mask is not None:
        # The smallest finite number, not -inf: a row without keys must not make NaN on the way back. Put into the
        # addend, which is shared by the batch, and not into the scores.
        low = torch.finfo(scores.dtype).min
        bias = torch.where(mask, scores.new_zeros(()) if bias is None else bias.to(scores.dtype), low)
    if bias is not None:
        scores = scores + bias
    weights = scores.softmax(-1)
    if dropout:
        weights = F.dropout(weights, dropout)
    if len(lead) > 1:
        out = (weights.flatten(0, -4).to(v.dtype) @ v).unflatten(0, lead)
    else:
        out = weights.to(v.dtype) @ v
    return out if mask is None else out.masked_fill(~mask.any(-1, keepdim=True), 0)
