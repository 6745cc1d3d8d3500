"""Losses of two sides: an object and its background, an edge and the rest. Labels are 0, 1 or `ignore`.

    BinaryCrossEntropy   one logit a pixel
    Boundary             balanced binary cross entropy and Dice of an edge map       (PIDNet's, which P2AT takes)
    NormalisedFocal      focal, with weights rescaled to sum to the number of pixels (InterFormer's)

As in `losses`, logits are resized to the labels' size, and where no pixel is labelled a loss and its gradient are 0.
"""

__all__ = ["BinaryCrossEntropy", "Boundary", "NormalisedFocal", "edges", "normalised_focal"]

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from apps.vision.segmentation.losses import at_size, over


class BinaryCrossEntropy(nn.Module):
    """One logit a pixel, (B, 1, H, W), and labels 0 or 1.

    Args:
        ignore: label of pixels that do not count.
        positive: weight of pixels labelled 1.
    """

    def __init__(self, ignore: int = 255, positive: float = 1.0) -> None:
        super().__init__()
        self.ignore, self.positive = ignore, positive

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        score = _single(at_size(logits, labels))
        valid = labels != self.ignore
        target = ((labels != 0) & valid).to(score)
        weight = valid * torch.where(target > 0, self.positive, 1.0)
        loss = F.binary_cross_entropy_with_logits(score, target, weight, reduction="sum")
        return over(loss, valid.sum())


class Boundary(nn.Module):
    """Of an edge map (B, 1, H, W) of logits, the edges being 1 in the labels: `bce` times a cross entropy whose two
    classes weigh alike (each with the share of the other), plus 1 - Dice.

    Args:
        ignore: label of pixels that do not count.
        bce: weight of the cross entropy.
        smooth: of the Dice coefficient.
    """

    def __init__(self, ignore: int = 255, bce: float = 20.0, smooth: float = 1.0) -> None:
        super().__init__()
        self.ignore, self.bce, self.smooth = ignore, bce, smooth

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        score = _single(at_size(logits, labels))
        valid = (labels != self.ignore).to(score)
        edge = (labels == 1).to(score)
        total, edges_ = valid.sum(), edge.sum()
        share = edges_ / total.clamp(min=1)
        weight = valid * torch.where(edge > 0, 1 - share, share)
        entropy = over(F.binary_cross_entropy_with_logits(score, edge, weight, reduction="sum"), total)
        found = score.sigmoid() * valid
        dice = (2 * (found * edge).sum() + self.smooth) / (found.sum() + edges_ + self.smooth)
        return self.bce * entropy + (1 - dice)


def edges(labels: Tensor, ignore: int = 255, reach: int = 2) -> Tensor:
    """(B, H, W): 1 within `reach` pixels (an axis) of another class, 0 elsewhere; ignored pixels stay ignored.

    Void beside a class is no edge.
    """
    valid = labels != ignore
    high, low = (labels.float().masked_fill(~valid, fill)[:, None] for fill in (-torch.inf, torch.inf))
    size = 2 * reach + 1
    high, low = F.max_pool2d(high, size, 1, reach), -F.max_pool2d(-low, size, 1, reach)
    return (high > low)[:, 0].to(labels.dtype).masked_fill(~valid, ignore)


def normalised_focal(
    logits: Tensor, labels: Tensor, alpha: float = 0.5, gamma: float = 2.0, ignore: int = 255
) -> Tensor:
    """(B,): of logits (B, 2, H, W) for background and object; see `NormalisedFocal`."""
    logits = at_size(logits, labels)
    if logits.shape[1] != 2:
        raise ValueError(f"normalised_focal: expected two channels, background and object, got {logits.shape[1]}.")
    valid = (labels != ignore).flatten(1)
    right = torch.where(labels == 1, logits[:, 1] - logits[:, 0], logits[:, 0] - logits[:, 1]).flatten(1)
    probability = right.sigmoid()
    eps = torch.finfo(torch.float32).eps
    beta = (1 - probability) ** gamma * valid
    scale = (valid.sum(1) / (beta.sum(1) + eps)).detach()[:, None]
    loss = -alpha * scale * beta * (probability + eps).clamp(max=1).log() * valid
    return loss.sum(1) / valid.sum(1).clamp(min=1)


class NormalisedFocal(nn.Module):
    """Focal loss of one object against its background, for each sample with weights that sum to its pixels:

        p = probability of the right side,  beta = (1 - p)^gamma,  loss = mean of -alpha (n / sum beta) beta log p

    so that it does not fade as the object is learned. The scale n / sum beta carries no gradient.

    Args:
        alpha: of both sides.
        gamma: power.
        ignore: label of pixels that do not count.
    """

    def __init__(self, alpha: float = 0.5, gamma: float = 2.0, ignore: int = 255) -> None:
        super().__init__()
        self.alpha, self.gamma, self.ignore = alpha, gamma, ignore

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return normalised_focal(logits, labels, self.alpha, self.gamma, self.ignore).mean()


def _single(logits: Tensor) -> Tensor:
    if logits.shape[1] != 1:
        raise ValueError(f"loss: expected one logit a pixel, got {logits.shape[1]} channels.")
    return logits[:, 0]
