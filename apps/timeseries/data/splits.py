"""Which rows are forecast in training, validation and test.

A part is an int64 tensor (S, 2) of row numbers [first, end) of each series: all steps of a forecast lie inside,
its look-back may reach into the rows before. Future rows (after the last observed target) belong to no part.
"""

__all__ = ["Split", "everything", "horizon", "last_rows", "proportions"]

from typing import NamedTuple

import torch
from torch import Tensor

from .series import Panel


class Split(NamedTuple):
    """Three parts of a panel, each (S, 2)."""

    train: Tensor
    validation: Tensor
    test: Tensor


def proportions(panel: Panel, train: float = 0.7, test: float = 0.2) -> Split:
    """The first int(train * n) rows of each series, the last int(test * n) rows, and validation between.

    Raises:
        ValueError: shares that are negative or sum to more than 1.
    """
    if train < 0 or test < 0 or train + test > 1:
        raise ValueError(f"proportions: train {train} and test {test} must not be negative nor sum to more than 1.")
    n = panel.history.double()
    return _from_bounds(n.long(), (n * train).long(), (n * test).long())


def last_rows(panel: Panel, validation: int, test: int) -> Split:
    """The last `test` rows of each series, the `validation` rows before them, and everything before for training."""
    n = panel.history
    tail = n.clamp(max=test)
    return _from_bounds(n, (n - tail - validation).clamp(min=0), tail)


def everything(panel: Panel) -> Tensor:
    """All rows with observed targets, as one part (S, 2)."""
    return torch.stack([torch.zeros_like(panel.history), panel.history], 1)


def horizon(panel: Panel, prediction_length: int) -> Tensor:
    """The `prediction_length` steps after the last observed target of each series, as one part (S, 2)."""
    return torch.stack([panel.history, panel.history + prediction_length], 1)


def _from_bounds(n: Tensor, train: Tensor, test: Tensor) -> Split:
    zero = torch.zeros_like(n)
    parts = ((zero, train), (train, n - test), (n - test, n))
    return Split(*(torch.stack(part, 1) for part in parts))
