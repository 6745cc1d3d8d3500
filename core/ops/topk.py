"""Several softmaxes over the largest scores of a row, added with shares (DRSformer, Chen et al. 2023).

    w = sum_j a_j softmax(s restricted to its k_j largest entries), 0 elsewhere

Shapes: scores (..., N, M), shares (J,), keep J numbers from 1 to M -> weights (..., N, M).

Decided: a row is sorted once and exponentiated once; the J normalisers are prefix sums of what is sorted, and one
matrix of weights comes out, so that what follows is one product with the values instead of J. Which of equal scores at
the edge of the k_j largest is kept is arbitrary, as in the release.
"""

__all__ = ["topk_softmax", "topk_softmax_reference"]

from collections.abc import Sequence

import torch
from torch import Tensor


def topk_softmax(scores: Tensor, shares: Tensor, keep: Sequence[int]) -> Tensor:
    """The combined weights.

    Args:
        scores: (..., N, M).
        shares: (J,) factors a_j.
        keep: J numbers k_j.

    Raises:
        ValueError: where a k_j is not in 1 .. M, or there are not as many shares.
    """
    _check(scores, shares, keep)
    ranked, order = scores.sort(-1, descending=True)
    powers = (ranked - ranked[..., :1].detach()).exp()
    last = torch.tensor(keep, device=scores.device)
    totals = powers.cumsum(-1).index_select(-1, last - 1)
    inside = torch.arange(scores.shape[-1], device=scores.device) < last[:, None]
    factor = (shares / totals) @ inside.to(scores.dtype)
    return torch.zeros_like(scores).scatter(-1, order, powers * factor)


def topk_softmax_reference(scores: Tensor, shares: Tensor, keep: Sequence[int]) -> Tensor:
    """The definition: one masked softmax after the other."""
    _check(scores, shares, keep)
    weights = torch.zeros_like(scores)
    for share, count in zip(shares, keep, strict=True):
        kept = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, scores.topk(count, -1).indices, True)
        weights = weights + share * scores.masked_fill(~kept, -torch.inf).softmax(-1)
    return weights


def _check(scores: Tensor, shares: Tensor, keep: Sequence[int]) -> None:
    if shares.shape != (len(keep),) or not all(1 <= count <= scores.shape[-1] for count in keep):
        raise ValueError(
            f"topk_softmax: keep {tuple(keep)} and shares {tuple(shares.shape)} for {scores.shape[-1]} scores a row; "
            "give one share for each count, and counts from 1 to the number of scores"
        )
