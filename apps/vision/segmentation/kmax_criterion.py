"""kMaX-DeepLab's criterion on batches of this project: `mask_losses.PanopticLoss` on what the network found.

Crowds are void in training, and so is whatever has no segment. Weights by data set: the defaults are COCO's and
ADE20K's; Cityscapes' `PanopticLoss(pixel_temperature=0.6, semantic_samples=0, semantic_temperature=1.0)`.
"""

__all__ = ["KMaXCriterion"]

import torch
from torch import Tensor, nn

from apps.vision.segmentation.data.items import Batch
from apps.vision.segmentation.mask_losses import PanopticLoss, Truth
from apps.vision.segmentation.models.kmax import Found
from core.errors import UserError


class KMaXCriterion(nn.Module):
    """The loss of (what the network found, batch).

    Args:
        loss: with its weights; those for COCO if not given.
    """

    def __init__(self, loss: PanopticLoss | None = None) -> None:
        super().__init__()
        self.loss = loss or PanopticLoss()

    def forward(self, made: Found, batch: Batch) -> Tensor:
        """The weighted sum over parts and layers."""
        return self.loss(made.masks, truth_of(batch))[0]

    def parts(self, made: Found, batch: Batch) -> dict[str, Tensor]:
        """Its summands without gradients: classes, masks, dice, pixels, semantic, each over all layers."""
        return self.loss(made.masks, truth_of(batch))[1]


def truth_of(batch: Batch) -> Truth:
    """Segments of a batch, crowds being void.

    Raises:
        UserError: the data have no segments.
    """
    segments, kinds, crowd = batch["segments"], batch["kinds"], batch["crowd"]
    if segments is None or kinds is None:
        raise UserError(
            f"KMaXCriterion: {batch['name'][0]} has classes but no segments; train on data that tells objects "
            "apart, such as CocoPanoptic."
        )
    kept, classes = [], []
    for n, (one, kind) in enumerate(zip(segments, kinds, strict=True)):
        if crowd is not None and crowd[n].any():
            # Places of what is left, crowds and void -1.
            real = ~crowd[n]
            places = torch.cat([torch.where(real, real.cumsum(0) - 1, -1), real.new_full((1,), -1, dtype=torch.int64)])
            one, kind = places[one], kind[real]
        kept.append(one)
        classes.append(kind)
    return Truth(torch.stack(kept), tuple(classes))
