"""Segmentation without looking at the image: the commonest class of each place in the training labels."""

__all__ = ["prior"]

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from apps.vision.segmentation.data.items import Scene, labels_of

GRID = 48


def prior(scenes: Iterable[Scene], classes: int) -> Callable[[tuple[int, int]], Tensor]:
    """Counts labels on a grid of 48 x 48 cells that covers every image, and guesses by it.

    Args:
        scenes: to learn from.
        classes: K.

    Returns:
        (H, W) -> (H, W) int64 classes: those most often seen, the cells' shares resized bilinearly.
    """
    counts = torch.zeros(classes, GRID * GRID)
    for scene in scenes:
        labels = labels_of(scene)
        # Of an image smaller than the grid, pixels count in several cells: none stays empty.
        for axis, length in enumerate(labels.shape):
            if length < GRID:
                labels = labels.index_select(axis, torch.arange(GRID) * length // GRID)
        height, width = labels.shape
        rows = torch.arange(height) * GRID // height
        columns = torch.arange(width) * GRID // width
        cells = (rows[:, None] * GRID + columns).flatten()
        known = labels.flatten()
        valid = known < classes
        joint = torch.bincount(known[valid] * GRID * GRID + cells[valid], minlength=classes * GRID * GRID)
        counts += joint.view(classes, -1)
    share = (counts / counts.sum(0).clamp(min=1)).view(1, classes, GRID, GRID)

    def guess(size: tuple[int, int]) -> Tensor:
        return F.interpolate(share, tuple(size), mode="bilinear", align_corners=False)[0].argmax(0)

    return guess
