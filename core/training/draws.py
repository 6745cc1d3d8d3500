"""Random numbers that depend on (seed, index) alone: neither workers nor ranks nor interruptions change a draw."""

__all__ = ["Draws", "generator"]

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


def generator(seed: int, index: int) -> np.random.Generator:
    """Independent numbers for each (seed, index), both in 0 .. 2^64 - 1: the two are the key of a counter generator."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))


class Draws(Sampler[int]):
    """The numbers of an epoch's samples, `epoch * count` and up: a later epoch draws others.

    Args:
        count: samples an epoch.
    """

    def __init__(self, count: int):
        self.count, self.epoch = count, 0

    def __len__(self) -> int:
        return self.count

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.epoch * self.count, (self.epoch + 1) * self.count))
