"""TRANSCRIPTION of how the releases of the TimeXer line make batches (Time-Series-Library 4e938a1), written afresh.

Arrays in float64; a sample is four slices of them (window and marks, decoder window and decoder marks, which overlap
the look-back by 48 steps); the default collation stacks samples; the training loop casts each batch to float32.
"""

__all__ = ["SlicedWindows", "batches"]

from collections.abc import Iterator

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

LABEL_LENGTH = 48


class SlicedWindows(Dataset[tuple[np.ndarray, ...]]):
    """Windows of `values (T, C)` with `marks (T, M)`, both float64.

    Args:
        values, marks: the series and its calendar.
        context_length: look-back L.
        prediction_length: horizon H.
    """

    def __init__(self, values: np.ndarray, marks: np.ndarray, context_length: int, prediction_length: int) -> None:
        self.values, self.marks = values, marks
        self.context_length, self.prediction_length = context_length, prediction_length

    def __len__(self) -> int:
        return len(self.values) - self.context_length - self.prediction_length + 1

    def __getitem__(self, begin: int) -> tuple[np.ndarray, ...]:
        end = begin + self.context_length
        decoder = slice(end - LABEL_LENGTH, end + self.prediction_length)
        return self.values[begin:end], self.values[decoder], self.marks[begin:end], self.marks[decoder]


def batches(windows: SlicedWindows, batch_size: int) -> Iterator[list[Tensor]]:
    """One shuffled epoch in process, cast as the training loop does."""
    for batch in DataLoader(windows, batch_size=batch_size, shuffle=True):
        yield [part.float() for part in batch]
