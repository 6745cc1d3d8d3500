"""Segments and objects in the forms that metrics count.

Panoptic quality takes a map in which 0 is void and what its numbers are, average precision a mask an object.
"""

__all__ = ["found_objects", "pieces", "true_objects", "true_pieces"]

from collections.abc import Collection

import torch
from torch import Tensor

from apps.vision.segmentation.data.items import Batch
from apps.vision.segmentation.metrics import mask_ap
from apps.vision.segmentation.metrics.panoptic import Segment
from apps.vision.segmentation.models.segmenter import Instances, Panoptic


def pieces(found: Panoptic) -> tuple[Tensor, list[Segment]]:
    """Of what a network found."""
    return found.segments + 1, [Segment(n + 1, kind) for n, kind in enumerate(found.kinds.tolist())]


def true_pieces(batch: Batch, n: int) -> tuple[Tensor, list[Segment]] | None:
    """Of the n-th image of a batch; None where its data has no segments."""
    if batch["segments"] is None or batch["kinds"] is None or batch["crowd"] is None:
        return None
    kinds, crowd = batch["kinds"][n].tolist(), batch["crowd"][n].tolist()
    # Sources without crowds list none.
    crowd = crowd or [False] * len(kinds)
    listed = [Segment(k + 1, kind, several) for k, (kind, several) in enumerate(zip(kinds, crowd, strict=True))]
    return batch["segments"][n] + 1, listed


def found_objects(found: Instances) -> mask_ap.Instances:
    """Of what a network found; masks without a pixel are none."""
    full = found.masks.flatten(1).any(1)
    return mask_ap.Instances(found.masks[full].numpy(), found.kinds[full].tolist(), found.scores[full].tolist())


def true_objects(batch: Batch, n: int, things: Collection[int]) -> mask_ap.Instances:
    """The things in the n-th image of a batch whose data has segments."""
    made = true_pieces(batch, n)
    assert made is not None
    segments, listed = made
    own = [segment for segment in listed if segment.category in things]
    numbers = torch.tensor([segment.id for segment in own], device=segments.device)
    masks = (segments == numbers[:, None, None]).cpu().numpy()
    return mask_ap.Instances(masks, [s.category for s in own], crowd=[s.crowd for s in own])
