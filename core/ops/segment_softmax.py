"""One query a segment of a ragged set: softmax attention over the rows of each segment.

    y_w = sum_{j in w} softmax_j(q_w . k_j / sqrt(d)) v_j

Shapes: q (W, H, d), k (N, H, d), v (N, H, e), numbers (N,) of the segments, rising -> (W, H, e).  A segment without
rows gives 0.  The cost is that of reading k and v: no padding to the longest segment.
"""

__all__ = ["segment_attend", "segment_attend_reference"]

import torch
from torch import Tensor


def segment_attend(q: Tensor, k: Tensor, v: Tensor, numbers: Tensor) -> Tensor:
    """Attention of one query to the rows of its own segment; sums in float32 at least."""
    dtype = torch.promote_types(q.dtype, torch.float32)
    logits = (q.index_select(0, numbers).to(dtype) * k).sum(-1) * q.shape[-1] ** -0.5
    with torch.no_grad():
        # Any number near the largest does: it cancels.
        rows = numbers[:, None].expand(logits.shape)
        largest = logits.new_full(q.shape[:2], -torch.inf).scatter_reduce_(0, rows, logits, "amax")
    weights = (logits - largest.index_select(0, numbers)).exp()
    total = weights.new_zeros(q.shape[:2]).index_add(0, numbers, weights)
    mixed = weights.new_zeros(*q.shape[:2], v.shape[-1]).index_add(0, numbers, weights[..., None] * v)
    return (mixed / total.clamp(min=torch.finfo(dtype).tiny)[..., None]).to(v.dtype)


def segment_attend_reference(q: Tensor, k: Tensor, v: Tensor, numbers: Tensor) -> Tensor:
    """A segment at a time."""
    made = []
    for number, query in enumerate(q):
        keys, values = k[numbers == number], v[numbers == number]
        weights = torch.einsum("hd,nhd->hn", query, keys).mul(q.shape[-1] ** -0.5).softmax(-1)
        made.append(torch.einsum("hn,nhe->he", weights, values))
    return torch.stack(made)
