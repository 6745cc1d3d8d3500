"""Non-maximum suppression of oriented boxes, seen from above.

Greedy, as everywhere: boxes by falling score, each that is left removes all later ones whose IoU with it is ABOVE the
threshold. Of equal scores the earlier box is the first, so the result depends on nothing but the arguments. Boxes are
taken in blocks, each compared with what is kept of the earlier ones and with itself: work and memory grow with kept
boxes times boxes, not with their square, and a full `post` ends it. The pairs are found and measured on the boxes'
device, the greedy choice within a block is made on the host.
"""

__all__ = ["nms", "nms_by_class", "nms_reference"]

from collections.abc import Sequence

import torch
from torch import Tensor

from .iou import pairwise_iou

BLOCK = 256


@torch.no_grad()
def nms(boxes: Tensor, scores: Tensor, threshold: float, *, pre: int = 4096, post: int = 500) -> Tensor:
    """(K,) int64: the boxes that stay, by falling score.

    Args:
        boxes: (N, 7 or 9).
        scores: (N,); a box with a score of NaN is left out.
        threshold: IoU above which the lower of two scores is removed.
        pre: only so many boxes of the highest scores are looked at.
        post: at most so many stay.
    """
    order = scores.argsort(descending=True, stable=True)
    order = order[~scores[order].isnan()][:pre]
    kept = order[:0]
    for block in order.split(BLOCK):
        if len(kept) >= post:
            break
        block = block[~(pairwise_iou(boxes[block], boxes[kept]) > threshold).any(1)]
        over = (pairwise_iou(boxes[block], boxes[block]) > threshold).triu(1).cpu().numpy()
        alive = ~over[:0].any(0)
        for n in over.any(1).nonzero()[0]:
            if alive[n]:
                alive &= ~over[n]
        kept = torch.cat([kept, block[torch.from_numpy(alive).to(block.device)]])
    return kept[:post]


def nms_by_class(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    thresholds: Sequence[float],
    *,
    pre: Sequence[int] | int = 4096,
    post: Sequence[int] | int = 500,
) -> Tensor:
    """(K,) int64: `nms` of every class by itself, class after class.

    Args:
        boxes: (N, 7 or 9).
        scores: (N,).
        labels: (N,) int64 from 0.
        thresholds: one a class.
        pre, post: limits of each class, or of all.
    """
    kept = [labels.new_zeros(0)]
    for label, threshold in enumerate(thresholds):
        own = (labels == label).nonzero()[:, 0]
        before, after = (limit if isinstance(limit, int) else limit[label] for limit in (pre, post))
        kept.append(own[nms(boxes[own], scores[own], threshold, pre=before, post=after)])
    return torch.cat(kept)


def nms_reference(boxes: Tensor, scores: Tensor, threshold: float) -> list[int]:
    """The definition, one box after the other."""
    order = sorted(range(len(boxes)), key=lambda n: (-scores[n].item(), n))
    kept: list[int] = []
    for n in order:
        if not (pairwise_iou(boxes[n : n + 1], boxes[kept]) > threshold).any():
            kept.append(n)
    return kept
