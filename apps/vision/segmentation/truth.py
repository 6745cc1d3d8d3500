"""Segments in the form that panoptic quality counts: a map in which 0 is void, and what its numbers are."""

__all__ = ["pieces", "true_pieces"]

from torch import Tensor

from apps.vision.segmentation.data.items import Batch
from apps.vision.segmentation.metrics.panoptic import Segment
from apps.vision.segmentation.models import Panoptic


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
