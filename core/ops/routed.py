"""Attention of regions to the regions that suit them best (bi-level routing, BiFormer, Zhu et al. 2023).

The map is cut into S x S regions.  Of region i, with mean query a_i and mean key b_i, the queries attend to the keys of
the k regions j with the largest a_i . b_j.  Which those are carries no gradient.

Shapes: q (B, R, n, heads, d), k (B, R, n, heads, d), v (B, R, n, heads, e), with the R regions apart -> v's shape.

Decided: regions are gathered at most 2^22 numbers at a time, so that memory is bounded, and from half of the regions on
nothing is gathered at all: the whole map is attended to with a mask of regions.
"""

__all__ = ["routed_attention", "routed_attention_reference", "top_regions"]

import torch
from torch import Tensor

from core.ops.attend import attend, attend_reference

# Numbers of gathered keys and values at a time.
_PIECE = 2**22


def top_regions(queries: Tensor, keys: Tensor, count: int) -> Tensor:
    """The regions that each region attends to: means (B, R, C) of both -> (B, R, min(count, R))."""
    with torch.no_grad():
        scores = queries @ keys.mT
        return scores.topk(min(count, scores.shape[-1]), dim=-1, sorted=False).indices


def routed_attention(
    q: Tensor, k: Tensor, v: Tensor, regions: Tensor, *, real: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Attention of each region to its own choice.

    Args:
        q, k, v: see above.
        regions: (B, R, k) numbers of regions.
        real: (R, n) boolean, False where a place was filled up and may not be seen.
        scale: factor of the scores, d ** -0.5 by default.
    """
    batch, count, size = q.shape[:3]
    chosen = regions.shape[-1]
    if 2 * chosen >= count:
        allowed = torch.zeros(batch, count, count, dtype=torch.bool, device=q.device).scatter_(2, regions, True)
        seen = allowed.repeat_interleave(size, 2)
        seen = seen if real is None else seen & real.flatten()
        mask = None if chosen == count and real is None else seen.repeat_interleave(size, 1)[:, None]
        heads = (t.flatten(1, 2).transpose(1, 2) for t in (q, k, v))
        return attend(*heads, mask=mask, scale=scale).transpose(1, 2).unflatten(1, (count, size))
    kv = torch.cat([k, v], dim=-1).flatten(0, 1)
    rows = (regions + torch.arange(batch, device=q.device)[:, None, None] * count).flatten(0, 1)
    step = max(1, _PIECE // (chosen * kv[0].numel()))
    out = []
    for queries, own in zip(q.flatten(0, 1).split(step), rows.split(step), strict=True):
        part = kv.index_select(0, own.flatten()).unflatten(0, own.shape).flatten(1, 2).transpose(1, 2)
        mask = None if real is None else real[own % count].flatten(1)[:, None, None]
        keys, values = part.split([k.shape[-1], v.shape[-1]], dim=-1)
        out.append(attend(queries.transpose(1, 2), keys, values, mask=mask, scale=scale).transpose(1, 2))
    return (torch.cat(out) if len(out) > 1 else out[0]).unflatten(0, (batch, count))


def routed_attention_reference(
    q: Tensor, k: Tensor, v: Tensor, regions: Tensor, *, real: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The same, region by region."""
    rows = []
    for sample in range(len(q)):
        for region in range(q.shape[1]):
            own = regions[sample, region]
            keys, values = (t[sample, own].flatten(0, 1).transpose(0, 1) for t in (k, v))
            mask = None if real is None else real[own].flatten()
            y = attend_reference(q[sample, region].transpose(0, 1), keys, values, mask=mask, scale=scale)
            rows.append(y.transpose(0, 1))
    return torch.stack(rows).unflatten(0, q.shape[:2])
