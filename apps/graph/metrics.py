"""What node classification is judged by.

    accuracy        share of nodes whose largest score is at their label
    roc_auc         area under the ROC curve of two classes, by ranks with ties shared (= sklearn's)
    mean_roc_auc    of several binary tasks, the mean of those where both classes occur (OGB's evaluator of proteins)

Scores are (n, classes) logits, or (n,) or (n, 1) of the positive class; two logits count by their difference. Nodes
whose label is -1 or NaN are left out (OGB's evaluator leaves out NaN). A number that cannot be is an error, not 0.5.

Over seeds and splits: mean and deviation with n - 1, as the tables of this field have them; the value of a run is that
at the first epoch of best validation.
"""

__all__ = ["Summary", "accuracy", "best_epoch", "mean_roc_auc", "roc_auc", "summarise"]

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from core.errors import UserError


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """In 0 .. 1.

    Args:
        scores: (n, classes), or (n,) or (n, 1) logits of the second of two classes.
        labels: (n,) or (n, 1), whole numbers or floats; -1 and NaN are left out.

    Raises:
        UserError: no node has a label.
    """
    labels = labels.reshape(len(labels), -1)[:, 0] if labels.dim() > 1 else labels
    known = _known(labels)
    if not known.any():
        raise UserError("accuracy: none of the nodes has a label; choose another split.")
    scores = scores.reshape(len(scores), -1)
    guess = (scores[:, 0] > 0).long() if scores.shape[1] == 1 else scores.argmax(1)
    return (guess[known] == labels[known]).double().mean().item()


def roc_auc(scores: Tensor, labels: Tensor) -> float:
    """In 0 .. 1.

    Args:
        scores: (n, 2), (n, 1) or (n,).
        labels: (n,) 0 or 1; -1 and NaN are left out.

    Raises:
        UserError: one of the classes does not occur, or scores are not finite.
    """
    scores = scores.reshape(len(scores), -1)
    if scores.shape[1] > 2:
        raise UserError(f"ROC AUC: scores of {scores.shape[1]} classes; it is defined for two, take accuracy.")
    single = (scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores[:, 0]).double()
    labels = labels.reshape(len(labels))
    known = _known(labels)
    single, positive = single[known], labels[known] > 0
    if not single.isfinite().all():
        raise UserError(f"ROC AUC: {int((~single.isfinite()).sum())} scores are not finite; lower the learning rate.")
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        raise UserError(f"ROC AUC: {count} positive and {others} negative nodes; it needs both, choose another split.")
    _, place, size = single.unique(return_inverse=True, return_counts=True)
    # Mean rank of each distinct score, ranks from 1.
    ranks = size.cumsum(0) - (size - 1) / 2
    return ((ranks[place][positive].sum() - count * (count + 1) / 2) / (count * others)).item()


def mean_roc_auc(scores: Tensor, labels: Tensor) -> float:
    """Mean over tasks.

    Args:
        scores: (n, T) logits.
        labels: (n, T) 0, 1, or NaN where unknown.

    Raises:
        UserError: no task has both classes.
    """
    parts = []
    for score, label in zip(scores.T, labels.T, strict=True):
        known = label[_known(label)]
        if (known > 0).any() and (known == 0).any():
            parts.append(roc_auc(score, label))
    if not parts:
        raise UserError("ROC AUC: no task has both classes; choose another split.")
    return sum(parts) / len(parts)


class Summary(NamedTuple):
    """Mean and deviation (n - 1; NaN for one) of `count` runs."""

    mean: float
    deviation: float
    count: int

    def __str__(self) -> str:
        return f"{100 * self.mean:.2f} ± {100 * self.deviation:.2f} ({self.count})"


def summarise(values: Sequence[float]) -> Summary:
    """Over seeds and splits."""
    given = torch.tensor(values, dtype=torch.float64)
    if not len(given):
        raise UserError("no runs to average; train at least one.")
    return Summary(given.mean().item(), given.std().item() if len(given) > 1 else float("nan"), len(given))


def best_epoch(validation: Sequence[float]) -> int:
    """The first epoch of the largest validation value."""
    return max(range(len(validation)), key=lambda n: (validation[n], -n))


def _known(labels: Tensor) -> Tensor:
    return labels >= 0
