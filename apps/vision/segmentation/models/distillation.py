"""What a student's maps are held against: losses of distillation between feature maps.

    context   mean squared error of the maps and of their means over 4 x 4, 2 x 2 and 1 parts, weights 1, 1/2, 1/4, 1/8
              over the sum of those used; levels summed up (Chen et al. 2021, "Distilling knowledge via knowledge
              review", arXiv 2104.09044, as TransKD has it: a size of parts no smaller than the map's height is left
              out, and takes no weight)
    channel   T^2 / (B C) KL(softmax(teacher / T) || softmax(student / T)), softmax over the places of a channel (Shu et
              al. 2021, "Channel-wise knowledge distillation for dense prediction", arXiv 2011.13256)

Maps (B, C, H, W) in, a number out.  Nothing is detached here.  Logarithms of softmax are taken as such; the release
takes the logarithm of a rounded softmax, which may be -inf.
"""

__all__ = ["channel_loss", "context_loss", "pixel_loss"]

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def context_loss(
    students: Sequence[Tensor], teachers: Sequence[Tensor], weights: Sequence[float] | None = None
) -> Tensor:
    """Of several levels.

    Args:
        students, teachers: maps of the same shapes.
        weights: of the levels; 1 by default.
    """
    total = students[0].new_zeros(())
    for n, (student, teacher) in enumerate(zip(students, teachers, strict=True)):
        loss, weight, used = F.mse_loss(student, teacher), 1.0, 1.0
        for parts in (4, 2, 1):
            if parts >= student.shape[2]:
                continue
            weight /= 2
            pooled = (F.adaptive_avg_pool2d(x, parts) for x in (student, teacher))
            loss = loss + weight * F.mse_loss(*pooled)
            used += weight
        total = total + loss / used * (1 if weights is None else weights[n])
    return total


def channel_loss(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """Distributions over the places of each channel."""
    return _divergence(student.flatten(2), teacher.flatten(2), temperature) / student.shape[:2].numel()


def pixel_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Distributions over the channels of each place."""
    count = len(student) * student.shape[2:].numel()
    return _divergence(student.movedim(1, -1), teacher.movedim(1, -1), temperature) / count


def _divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 times the sum over all distributions of the last axis."""
    parts = [torch.log_softmax(x / temperature, -1) for x in (student, teacher)]
    return temperature**2 * F.kl_div(*parts, reduction="sum", log_target=True)
