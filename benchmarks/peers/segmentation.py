"""What evaluators and test loops of segmentation releases do, transcribed operation by operation.

`one_hot_counts` is the evaluator that TransKD and others took from ERFNet: labels and predictions as stacks of one map
a class. `padded_windows` is the sliding window of the mmsegmentation family: every window's scores padded to the whole
image and added, divided by counts made the same way, a softmax, the largest.
"""

__all__ = ["one_hot_counts", "padded_windows"]

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def one_hot_counts(label: Tensor, prediction: Tensor, classes: int, ignore: int) -> tuple[Tensor, Tensor, Tensor]:
    """Right, false and missed pixels of each class, of maps (B, H, W); `ignore` is the last class."""
    stacks = []
    for maps in (prediction, label):
        stack = torch.zeros(len(maps), classes + 1, *maps.shape[1:])
        stacks.append(stack.scatter_(1, maps[:, None], 1).float())
    ignored = stacks[1][:, ignore : ignore + 1]
    found, true = stacks[0][:, :ignore], stacks[1][:, :ignore]

    def summed(maps: Tensor) -> Tensor:
        return maps.sum(0, keepdim=True).sum(2, keepdim=True).sum(3, keepdim=True).squeeze()

    return summed(found * true), summed(found * (1 - true - ignored)), summed((1 - found) * true)


def padded_windows(network: Callable[[Tensor], Tensor], image: Tensor, size: int, stride: int, classes: int) -> Tensor:
    """(H, W) classes."""
    height, width = image.shape[2:]
    rows = max(height - size + stride - 1, 0) // stride + 1
    columns = max(width - size + stride - 1, 0) // stride + 1
    total, count = image.new_zeros(1, classes, height, width), image.new_zeros(1, 1, height, width)
    for row in range(rows):
        for column in range(columns):
            bottom, right = min(row * stride + size, height), min(column * stride + size, width)
            top, left = max(bottom - size, 0), max(right - size, 0)
            made = network(image[:, :, top:bottom, left:right])
            total += F.pad(made, (left, width - right, top, height - bottom))
            count[:, :, top:bottom, left:right] += 1
    return (total / count).softmax(1).argmax(1)[0]
