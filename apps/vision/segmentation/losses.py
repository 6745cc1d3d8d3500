"""Losses of pixels: logits (B, K, H, W) and labels (B, H, W) in, one number out.

Labels are whole numbers 0 .. K - 1 or `ignore`; logits of another size are resized bilinearly to that of the labels.
All of them are 0, with a gradient of 0, where no pixel is labelled. Losses of two sides
are in `binary_losses`, those of masks in `mask_losses`.

    CrossEntropy        sum w_y (-log p_y) / sum w_y
    Ohem                mean of -log p_y over the hard pixels, those whose p_y is below a threshold; at least so many
    Focal               mean (1 - p_y)^gamma (-log p_y)                                   (Lin et al. 2017)
    Dice                1 - mean over classes of (2 sum p t + s) / (sum p + sum t + s)    (Milletari et al. 2016)
    DeepSupervision     one of them on the result, another on what helping heads give
"""

__all__ = ["CrossEntropy", "DeepSupervision", "Dice", "Focal", "Ohem", "at_size", "over"]

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from apps.vision.segmentation.data.items import Batch
from apps.vision.segmentation.models.segmenter import Logits
from core.errors import UserError


class PixelLoss(nn.Module):
    """What losses of pixels share.

    Args:
        ignore: label of pixels that do not count.
        weights: of each class.
    """

    weights: Tensor | None

    def __init__(self, ignore: int = 255, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.ignore = ignore
        self.register_buffer("weights", None if weights is None else torch.tensor(list(weights)), persistent=False)

    def log_likelihood(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log p_y (B, H, W), 0 where the label is ignored; which pixels count; their labels, 0 where they do not."""
        logits = at_size(logits, labels)
        if logits.shape[1] < 2:
            raise ValueError(
                f"{type(self).__name__}: {logits.shape[1]} channel has nothing to compare with; use two channels, or "
                "BinaryCrossEntropy with one."
            )
        if self.weights is not None and len(self.weights) != logits.shape[1]:
            raise ValueError(f"{type(self).__name__}: {len(self.weights)} weights for {logits.shape[1]} classes.")
        valid = labels != self.ignore
        known = labels.long().masked_fill(~valid, 0)
        likelihood = F.log_softmax(logits, 1).gather(1, known[:, None])[:, 0]
        return likelihood.masked_fill(~valid, 0), valid, known

    def weight(self, known: Tensor, valid: Tensor, like: Tensor) -> Tensor:
        """Weight of each pixel, 0 where the label is ignored."""
        flat = valid.to(like)
        return flat if self.weights is None else flat * self.weights.to(like)[known]


class CrossEntropy(PixelLoss):
    """Cross entropy, with weights a weighted mean.

    Args:
        ignore: label of pixels that do not count.
        weights: of each class.
        count_ignored: divide by all pixels, the ignored ones too, as P2AT's release does for its helping heads.
    """

    def __init__(self, ignore: int = 255, weights: Sequence[float] | None = None, count_ignored: bool = False) -> None:
        super().__init__(ignore, weights)
        self.count_ignored = count_ignored

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        likelihood, valid, known = self.log_likelihood(logits, labels)
        weight = self.weight(known, valid, likelihood)
        total = -(weight * likelihood).sum()
        return total / labels.numel() if self.count_ignored else over(total, weight.sum())


class Ohem(PixelLoss):
    """Online hard example mining: the mean over pixels with p_y < max(threshold, the keep-th lowest p_y).

    Where no pixel is below, the loss is 0; the release divides by their number and gives NaN.

    Args:
        ignore: label of pixels that do not count.
        weights: of each class; they scale the losses and do not enter the mean's denominator.
        threshold: probability of the right class below which a pixel is hard.
        keep: pixels of a batch that are kept at least.
    """

    def __init__(
        self,
        ignore: int = 255,
        weights: Sequence[float] | None = None,
        threshold: float = 0.9,
        keep: int = 131_072,
    ) -> None:
        super().__init__(ignore, weights)
        self.threshold, self.keep = threshold, keep

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        likelihood, valid, known = self.log_likelihood(logits, labels)
        weight = self.weight(known, valid, likelihood)
        probability = likelihood.detach()[valid].exp()
        if probability.numel() == 0:
            return likelihood.sum()
        place = min(max(1, self.keep), probability.numel() - 1)
        limit = probability.kthvalue(place + 1).values.clamp(min=self.threshold)
        hard = valid & (likelihood.detach().exp() < limit)
        return over(-(weight * likelihood)[hard].sum(), hard.sum())


class Focal(PixelLoss):
    """Easy pixels count less, by the power of their error.

    Args:
        ignore: label of pixels that do not count.
        weights: of each class; they scale the losses and do not enter the mean's denominator.
        gamma: power; 0 is cross entropy.
    """

    def __init__(self, ignore: int = 255, weights: Sequence[float] | None = None, gamma: float = 2.0) -> None:
        super().__init__(ignore, weights)
        self.gamma = gamma

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        likelihood, valid, known = self.log_likelihood(logits, labels)
        # The power's slope is infinite at 0 for a gamma below 1, so p = 1 is kept off.
        easy = (-torch.expm1(likelihood)).clamp(min=torch.finfo(likelihood.dtype).eps) ** self.gamma
        return over(-(self.weight(known, valid, likelihood) * easy * likelihood).sum(), valid.sum())


class Dice(PixelLoss):
    """One minus the Dice coefficient, a mean over the classes that the batch's labels hold.

    Args:
        ignore: label of pixels that do not count.
        weights: of each class in the mean.
        smooth: added to numerator and denominator.
    """

    def __init__(self, ignore: int = 255, weights: Sequence[float] | None = None, smooth: float = 1.0) -> None:
        super().__init__(ignore, weights)
        self.smooth = smooth

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        logits = at_size(logits, labels)
        classes = logits.shape[1]
        valid = (labels != self.ignore).flatten()
        known = labels.long().flatten().masked_fill(~valid, 0)
        share = logits.softmax(1).movedim(1, 0).flatten(1) * valid
        true = F.one_hot(known, classes).T.to(share) * valid
        counts = true.sum(1)
        dice = (2 * (share * true).sum(1) + self.smooth) / (share.sum(1) + counts + self.smooth)
        weight = (counts > 0).to(share) if self.weights is None else (counts > 0) * self.weights.to(share)
        return over((weight * (1 - dice)).sum(), weight.sum())


class DeepSupervision(nn.Module):
    """`loss(main) + sum weights_i helper(others_i)`.

    Args:
        loss: of the network's result.
        weights: of its helping heads, in their order; one alone is that of all.
        helper: loss of helping heads; `loss` if not given.
    """

    def __init__(self, loss: nn.Module, weights: Sequence[float] = (0.4,), helper: nn.Module | None = None) -> None:
        super().__init__()
        self.loss, self.weights, self.helper = loss, tuple(weights), loss if helper is None else helper

    def forward(self, made: Logits, batch: Batch) -> Tensor:
        """Of what a `Segmenter` made of a batch; without `others`, as in evaluation, the loss of the result alone."""
        labels = batch["labels"]
        weights = self.weights * len(made.others) if len(self.weights) == 1 else self.weights
        if made.others and len(made.others) != len(weights):
            raise UserError(
                f"DeepSupervision: {len(made.others)} helping heads and {len(weights)} weights; give one for each, or "
                "one for all."
            )
        total = self.loss(made.main, labels)
        for weight, other in zip(weights, made.others, strict=False):
            total = total + weight * self.helper(other, labels)
        return total


def at_size(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits in single precision at least, at the labels' size."""
    if logits.dim() != 4 or labels.dim() != 3 or len(logits) != len(labels):
        raise ValueError(
            f"loss: expected logits (B, K, h, w) and labels (B, H, W), got {tuple(logits.shape)} and "
            f"{tuple(labels.shape)}."
        )
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    if logits.shape[2:] == labels.shape[1:]:
        return logits
    return F.interpolate(logits, size=tuple(labels.shape[1:]), mode="bilinear", align_corners=False)


def over(total: Tensor, count: Tensor) -> Tensor:
    """A mean that is 0 where there is nothing."""
    return total / torch.where(count > 0, count, torch.ones_like(count)).to(total)
