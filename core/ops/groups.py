"""Softmax attention inside the groups of a plan, on grids and on ragged sets.

Shapes: q (B, *query grid, H, d), k (B, *key grid, H, d), v (B, *key grid, H, e) -> (B, *query grid, H, e).
Ragged: q (N, H, d), k (M, H, d), v (M, H, e) with their offsets -> (N, H, e).

Decided: the groups of a bucket are put beside the heads where each has a bias or mask of its own, so that the fused op
reads one (1, G H, n, m) table for the whole batch. Ragged segments that are long on average go one by one, all others
by the buckets of `core.partitions.segment_plan`.
"""

__all__ = ["attend_bucket", "attend_groups", "attend_groups_reference", "attend_ragged", "attend_ragged_reference"]

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from core.layout import Ragged
from core.ops.attend import attend, attend_reference, fused_is_faster, keeps_no_scores
from core.partitions.plan import Bucket, IndexPlan, Plan
from core.partitions.ragged import segment_plan

# From this mean length on, one call a segment beats padded buckets (measured).
_LONG = 200


def attend_groups(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    plan: Plan,
    *,
    biases: Sequence[Tensor | None] | None = None,
    mask: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attention of every group of a plan by itself.

    Args:
        q, k, v: tokens split into heads, see above.
        plan: who meets whom.
        biases: one addend (G or 1, H, n, m) a bucket of the plan, or None.
        mask: (B, *key grid) boolean, True = real key.
        causal: inside a group a query sees only slots up to its own.
        scale: factor of the scores, d ** -0.5 by default.
        dropout: share of weights dropped.

    Returns:
        (B, *query grid, H, e), 0 where a query has no key.
    """
    masks: Sequence[Tensor | None] = [None] * len(plan.buckets) if mask is None else plan.split_keys(mask)
    biases = [None] * len(plan.buckets) if biases is None else biases
    parts = [
        attend_bucket(qg, kg, vg, bucket, bias, real, causal, scale, dropout)
        for qg, kg, vg, bucket, bias, real in zip(
            plan.split_queries(q),
            plan.split_keys(k),
            plan.split_keys(v),
            plan.buckets,
            biases,
            masks,
            strict=True,
        )
    ]
    return plan.join(parts)


def attend_groups_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    plan: IndexPlan,
    *,
    biases: Sequence[Tensor | None] | None = None,
    mask: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """The same by a loop over samples and groups of an index plan."""
    q = q.flatten(1, len(plan.query_grid))
    k, v = (t.flatten(1, len(plan.key_grid)) for t in (k, v))
    out = v.new_zeros(*q.shape[:-1], v.shape[-1])
    visits = v.new_zeros(q.shape[1])
    real = torch.ones(k.shape[:2], dtype=torch.bool, device=k.device) if mask is None else mask.flatten(1)
    for number, (queries, keys, bucket) in enumerate(zip(plan.queries, plan.keys, plan.buckets, strict=True)):
        for group in range(len(queries)):
            rows, columns = queries[group] >= 0, keys[group] >= 0
            iq, ik = queries[group][rows], keys[group][columns]
            bias = None
            if biases is not None and biases[number] is not None:
                table = biases[number]
                assert table is not None
                bias = table[group if len(table) > 1 else 0][:, rows][:, :, columns]
            seen = torch.ones(len(iq), len(ik), dtype=torch.bool, device=k.device)
            if bucket.allowed is not None:
                table = bucket.allowed[group if len(bucket.allowed) > 1 else 0]
                seen = table.expand(len(rows), -1)[rows][:, columns]
            visits[iq] += 1
            for sample in range(len(q)):
                y = attend_reference(
                    q[sample, iq].transpose(0, 1),
                    k[sample, ik].transpose(0, 1),
                    v[sample, ik].transpose(0, 1),
                    bias=bias,
                    mask=seen & real[sample, ik],
                    scale=scale,
                )
                out = out.index_put((torch.tensor([sample]), iq), y.transpose(0, 1), accumulate=True)
    return (out / visits.clamp(min=1)[:, None, None]).unflatten(1, plan.query_grid)


def attend_ragged(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    queries: Ragged,
    keys: Ragged,
    *,
    bias: Callable[[Bucket], Tensor] | None = None,
    causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attention of every segment by itself: q (N, H, d), k (M, H, d), v (M, H, e) -> (N, H, e).

    Args:
        q, k, v: the heads of all segments.
        queries: where the queries' segments start (its tokens are not read), and their coordinates.
        keys: the same of the keys, with as many segments.
        bias: gives the addend (G or 1, H, n, m) of a bucket from its coordinates.
        causal: query i of a segment sees the keys up to i, aligned at the right where the lengths differ.
        scale: factor of the scores, d ** -0.5 by default.
        dropout: share of weights dropped.
    """
    unequal = causal and not (queries.offsets is keys.offsets or torch.equal(queries.offsets, keys.offsets))
    if unequal or (bias is None and _long(queries, keys)):
        return _loop(q, k, v, queries, keys, bias, causal, scale, dropout)
    plan = segment_plan(queries, keys)
    biases = None if bias is None else [bias(bucket) for bucket in plan.buckets]
    out = attend_groups(q[None], k[None], v[None], plan, biases=biases, causal=causal, scale=scale, dropout=dropout)
    return out[0]


def attend_ragged_reference(
    q: Tensor, k: Tensor, v: Tensor, queries: Ragged, keys: Ragged, *, causal: bool = False, scale: float | None = None
) -> Tensor:
    """The same by a loop over segments."""
    out = []
    ends = zip(pairwise(queries.offsets.tolist()), pairwise(keys.offsets.tolist()), strict=True)
    for (a, b), (c, d) in ends:
        heads = [t.transpose(0, 1) for t in (q[a:b], k[c:d], v[c:d])]
        if b > a and d > c:
            out.append(attend_reference(*heads, causal=causal, scale=scale).transpose(0, 1))
        else:
            out.append(v.new_zeros(b - a, *v.shape[1:]))
    return torch.cat(out)


def attend_bucket(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bucket: Bucket,
    bias: Tensor | None,
    real: Tensor | None,
    causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attention of one bucket: q (B, G, n, H, d), k (B, G, m, H, d), v (B, G, m, H, e) -> (B, G, n, H, e).

    Args:
        q, k, v: the parts a plan has split.
        bucket: the plan's bucket.
        bias: addend (G or 1, H, n, m), or None.
        real: (B, G, m) boolean, True = real key, or None.
        causal: a query sees only slots up to its own.
        scale: factor of the scores, d ** -0.5 by default.
        dropout: share of weights dropped.
    """
    batch, groups = q.shape[:2]
    q, k, v = (t.transpose(2, 3) for t in (q, k, v))
    allowed = None if bucket.allowed is None else bucket.allowed[:, None]
    if real is not None:
        seen = real[:, :, None, None, :]
        allowed = seen if allowed is None else seen & allowed
    # A bias that takes the form without scores stays apart from what may be attended to: their sum would be kept.
    apart = keeps_no_scores(q, k, bias, dropout)
    if bias is not None and allowed is not None and real is None and bucket.shape is not None and not apart:
        # Every query of a regular group has a key, so -inf is safe, and one addend is all there is left.
        bias, allowed = torch.where(allowed, bias, -torch.inf), None
    heads = q.shape[2]
    own = any(t is not None and len(t) > 1 for t in (bias, allowed))
    shared = apart and bias is not None and len(bias) == 1
    if real is not None or not own or batch == 1 or shared or not (apart or fused_is_faster(q, k, bias)):
        out = attend(q, k, v, bias=bias, mask=allowed, causal=causal, scale=scale, dropout=dropout)
        return out.transpose(2, 3)
    # Own terms of each group, the same for every sample: groups become heads, and one table serves the batch.
    if bias is not None and allowed is not None and not apart:
        bias, allowed = torch.where(allowed, bias, -torch.inf), None
    bias, allowed = (
        None if t is None else t.expand(groups, heads, -1, -1).reshape(1, groups * heads, *t.shape[2:])
        for t in (bias, allowed)
    )
    q, k, v = (t.reshape(batch, groups * heads, *t.shape[3:]) for t in (q, k, v))
    out = attend(q, k, v, bias=bias, mask=allowed, causal=causal, scale=scale, dropout=dropout)
    return out.unflatten(1, (groups, heads)).transpose(2, 3)


def _long(queries: Ragged, keys: Ragged) -> bool:
    total = len(queries.tokens) + len(keys.tokens)
    return total >= _LONG * (queries.batch + keys.batch)


def _loop(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    queries: Ragged,
    keys: Ragged,
    bias: Callable[[Bucket], Tensor] | None,
    causal: bool,
    scale: float | None,
    dropout: float,
) -> Tensor:
    out = []
    ends_q, ends_k = queries.offsets.tolist(), keys.offsets.tolist()
    for i, ((a, b), (c, d)) in enumerate(zip(pairwise(ends_q), pairwise(ends_k), strict=True)):
        heads = [t.transpose(0, 1)[None] for t in (q[a:b], k[c:d], v[c:d])]
        table = None
        if bias is not None:
            table = bias(segment_plan(queries.segments()[i], keys.segments()[i]).buckets[0])
        out.append(attend(*heads, bias=table, causal=causal, scale=scale, dropout=dropout)[0].transpose(0, 1))
    return torch.cat(out)
