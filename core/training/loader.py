"""A data loader that goes on in the middle of an epoch, and a shuffle that depends on seed and epoch alone."""

__all__ = ["EpochShuffle", "ResumableLoader"]

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler


class EpochShuffle(Sampler[int]):
    """All indices in an order drawn from (seed, epoch): the same on every run, resumed or not.

    Args:
        count: number of samples.
        seed: of the whole run.
    """

    def __init__(self, count: int, seed: int = 0):
        self.count, self.seed, self.epoch = count, seed, 0

    def __len__(self) -> int:
        return self.count

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        return iter(torch.randperm(self.count, generator=generator).tolist())


class ResumableLoader(DataLoader):
    """A `DataLoader` whose place within the epoch is part of a checkpoint (Lightning stores `state_dict`).

    It has a random generator of its own: starting an epoch does not move the global one, which therefore is the same
    after a resumed start.  Arguments are those of `DataLoader`.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("generator", torch.Generator())
        super().__init__(*args, **kwargs)
        self._given, self._skip = 0, 0

    def __iter__(self) -> Iterator:  # type: ignore[override]  # any iterator serves
        skip, self._skip = self._skip, 0
        self._given = skip
        for n, batch in enumerate(super().__iter__()):
            if n < skip:
                continue
            self._given = n + 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Batches given out in this epoch; none once it is over."""
        return {"given": self._given % max(1, len(self))}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next epoch begins after these batches."""
        self._skip = state["given"]
