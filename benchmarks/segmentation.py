"""Evaluation and inference of segmentation beside what releases do: `python -m benchmarks segmentation`, one thread.

    metrics     a confusion matrix of two maps of 512 x 1024, 20 classes
    inference   merging sliding windows of a network that costs nothing, 150 classes, 512 x 1024, windows of 512

Both sides are compared before anything is timed.
"""

__all__ = ["GROUPS"]

from collections.abc import Iterator

import torch
from torch import Tensor

from apps.vision.segmentation.inference import Windows, class_map
from apps.vision.segmentation.metrics.confusion import confusion
from benchmarks.harness import Ratio, compare
from benchmarks.peers.segmentation import one_hot_counts, padded_windows

Row = tuple[str, Ratio, float | None]


def metrics(repeats: int) -> Iterator[Row]:
    """Labels with a twentieth of void."""
    classes = 19
    label, prediction = torch.randint(0, classes + 1, (2, 512, 1024)), torch.randint(0, classes, (2, 512, 1024))

    def ours() -> Tensor:
        return confusion(label, prediction, classes, ignore=classes)

    def peer() -> tuple[Tensor, Tensor, Tensor]:
        return one_hot_counts(label, prediction, classes, ignore=classes)

    matrix, (tp, fp, fn) = ours(), peer()
    right = matrix.diagonal()
    if not (
        torch.equal(right, tp.long())
        and torch.equal(matrix.sum(0) - right, fp.long())
        and torch.equal(matrix.sum(1) - right, fn.long())
    ):
        raise AssertionError("the counts differ")
    yield "confusion matrix, 20 classes, 2 x 512 x 1024: one-hot maps", compare(ours, peer, max(3, repeats // 3)), 50.0


def inference(repeats: int) -> Iterator[Row]:
    """Windows of 512 with a stride of 341, as ADE20K's; their scores are ready, so only merging is timed."""
    classes, size, stride = 150, 512, 341
    image, ready = torch.zeros(1, 3, 512, 1024), torch.randn(1, classes, 512, 512)

    def ours() -> Tensor:
        return class_map(lambda x: ready, image, Windows((size, size), (stride, stride)))

    def peer() -> Tensor:
        return padded_windows(lambda x: ready, image, size, stride, classes)

    if not torch.equal(ours(), peer()):
        raise AssertionError("the class maps differ")
    yield "sliding windows, 150 classes, 512 x 1024: padded sums", compare(ours, peer, max(3, repeats // 3)), 2.5


GROUPS = {"metrics": metrics, "inference": inference}
