"""Mean IoU as every benchmark means it: from one confusion matrix over all pixels of a split.

    C[label, prediction]    int64, rows are labels; pixels of the ignored value are dropped before counting
    IoU_c      = C_cc / (sum_row c + sum_column c - C_cc)
    accuracy_c = C_cc / sum_row c
    mIoU, mAcc = means over the classes that have a value;  aAcc = trace / sum

A class that occurs in neither labels nor predictions has no IoU: NaN, and not part of the mean. (HRNet's evaluator and
those made from it count it as 0.) Processes add up their matrices, never their means.

torchmetrics 1.9 has two classes for this: `classification.MulticlassJaccardIndex` gives the same mean;
`segmentation.MeanIoU` has no ignored value, counts void as a class and averages over images, another number.

Pixels whose label is ignored say nothing about the prediction, so a class that is ignored because it is "background"
costs nothing when it is predicted too much: what then looks like IoU is closer to recall. Ignore void alone.
"""

__all__ = ["Confusion", "Scores", "confusion", "scores"]

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

# Labels up to here have rows of their own while they are counted.
HIGHEST = 1000
PIECE = 32_768


class Scores(NamedTuple):
    """What a confusion matrix says, as shares (1 is perfect).

    Attributes:
        miou, macc: means over the classes that have a value; NaN if none has.
        aacc: share of pixels that are right.
        iou, accuracy: (K,) float64, NaN where a class has none.
        labelled: (K,) int64, pixels of each class in the labels.
    """

    miou: float
    macc: float
    aacc: float
    iou: Tensor
    accuracy: Tensor
    labelled: Tensor


def confusion(label: Tensor, prediction: Tensor, classes: int, ignore: int = 255) -> Tensor:
    """Counts of one batch.

    Args:
        label: whole numbers of any shape, 0 .. classes - 1 or `ignore`.
        prediction: of the same shape, 0 .. classes - 1; anything where the label is ignored.
        classes: K.
        ignore: label of pixels that do not count; may be K or negative.

    Returns:
        (K, K) int64.

    Raises:
        ValueError: other shapes or values, with the value.
    """
    if label.shape != prediction.shape:
        raise ValueError(
            f"confusion: labels {tuple(label.shape)} and predictions {tuple(prediction.shape)} must have one shape; "
            "resize the logits to the labels' size first."
        )
    if label.numel() == 0:
        return torch.zeros(classes, classes, dtype=torch.int64, device=label.device)
    label, prediction = (x.reshape(-1) if x.dtype == torch.int64 else x.reshape(-1).int() for x in (label, prediction))
    low, high = (int(v) for v in label.aminmax())
    least, most = (int(v) for v in prediction.aminmax())
    if low < 0 or high > HIGHEST or least < 0 or most >= classes:
        # Rare: void is negative or a huge number, or what stands at void is no class.
        ignored = label == ignore
        prediction = prediction.masked_fill(ignored, 0)
        label = label.masked_fill(ignored, classes)
        ignore = classes
        _check(prediction, classes, "predictions", "must be below the number of classes; the head has too many outputs")
        _check(label, classes + 1, "labels", "must be classes or the ignored value")
    # Void has a row of its own behind the matrix: counting it costs less than taking it out.
    lines = max(classes, int(label.max()) + 1)
    # On a CPU pieces that stay in the cache take a third of the time that whole maps do.
    piece = PIECE if label.device.type == "cpu" else len(label)
    rows = torch.zeros(lines * classes, dtype=torch.int64, device=label.device)
    for part, guess in zip(label.split(piece), prediction.split(piece), strict=True):
        rows += torch.bincount(torch.add(guess, part, alpha=classes), minlength=lines * classes)
    rows = rows.view(lines, classes)
    beyond = rows[classes:].sum(1).nonzero()[:, 0] + classes
    if wrong := [value for value in beyond.tolist() if value != ignore]:
        raise ValueError(
            f"confusion: labels hold {_listed(wrong)} and there are {classes} classes; they must be below it or "
            f"{ignore}, the ignored value."
        )
    return rows[:classes]


def _check(values: Tensor, bound: int, name: str, advice: str) -> None:
    wrong = values[(values < 0) | (values >= bound)].unique().tolist()
    if wrong:
        raise ValueError(f"confusion: {name} hold {_listed(wrong)}; they {advice}.")


def _listed(values: list[int]) -> str:
    return ", ".join(map(str, values[:5]))


def scores(matrix: Tensor) -> Scores:
    """Shares of a summed confusion matrix (K, K)."""
    counts = matrix.double().cpu()
    right, rows, columns = counts.diagonal(), counts.sum(1), counts.sum(0)
    # 0 / 0 is NaN, which is what a class without pixels has.
    iou, accuracy = right / (rows + columns - right), right / rows
    return Scores(
        miou=iou.nanmean().item(),
        macc=accuracy.nanmean().item(),
        aacc=(right.sum() / counts.sum()).item(),
        iou=iou,
        accuracy=accuracy,
        labelled=rows.long(),
    )


class Confusion(Metric):
    """The matrix of a whole split, summed over batches and processes.

    Args:
        classes: K.
        ignore: label of pixels that do not count.
    """

    full_state_update = False
    higher_is_better = True
    matrix: Tensor

    def __init__(self, classes: int, ignore: int = 255) -> None:
        super().__init__()
        if classes < 1 or 0 <= ignore < classes:
            raise ValueError(f"Confusion: {classes} classes with {ignore} ignored; the ignored value is no class.")
        self.classes, self.ignore = classes, ignore
        self.add_state("matrix", torch.zeros(classes, classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, label: Tensor, prediction: Tensor) -> None:
        """Adds a batch; see `confusion`."""
        self.matrix += confusion(label, prediction, self.classes, self.ignore)

    def compute(self) -> Scores:
        """The scores so far, of all processes."""
        return scores(self.matrix)
