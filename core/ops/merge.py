"""One softmax over several key sets, and merging what was computed apart.

Combiner, core-context attention and window-plus-summary forms attend to sets of keys of different shape under one
softmax: `attend_sets` concatenates their scores, which is differentiable. `merge` joins partial results by their
log-sum-exp, o = sum_i o_i exp(lse_i - lse); use it at inference only, since the fused op's log-sum-exp carries no
gradient.
"""

__all__ = ["KeySet", "attend_sets", "merge"]

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class KeySet(NamedTuple):
    """Keys (..., H, m, d), values (..., H, m, e), addend and boolean mask that broadcast to (..., H, n, m)."""

    k: Tensor
    v: Tensor
    bias: Tensor | None = None
    mask: Tensor | None = None


def attend_sets(q: Tensor, sets: Sequence[KeySet], *, scale: float | None = None) -> Tensor:
    """softmax over the keys of all sets: q (..., H, n, d) -> (..., H, n, e); leading axes of the sets broadcast.

    A query that may attend to nothing gets 0.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores, dead = [], []
    for k, _, bias, mask in sets:
        score = (q * scale) @ k.transpose(-2, -1)
        if bias is not None:
            score = score + bias
        if mask is not None:
            # Finite, so that a row without keys makes no NaN on the way back.
            score = score.masked_fill(~mask, torch.finfo(score.dtype).min)
            dead.append((~mask).expand(score.shape).all(-1, keepdim=True))
        else:
            dead.append(torch.full_like(score[..., :1], not score.shape[-1], dtype=torch.bool))
        scores.append(score)
    weights = torch.cat(scores, dim=-1).softmax(-1)
    weights = weights.masked_fill(torch.cat(dead, -1).all(-1, keepdim=True), 0)
    parts = weights.split([s.shape[-1] for s in scores], dim=-1)
    out = parts[0] @ sets[0].v
    for part, s in zip(parts[1:], sets[1:], strict=True):
        out = out + part @ s.v
    return out


def merge(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Partial results (o (..., n, e), lse (..., n)) over disjoint key sets -> that over their union; any order."""
    lse = torch.logsumexp(torch.stack([part_lse for _, part_lse in parts]), 0)
    finite = torch.where(lse.isfinite(), lse, 0.0)
    out = torch.stack([o * (part_lse - finite).exp()[..., None] for o, part_lse in parts]).sum(0)
    return out, lse
