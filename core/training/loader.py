"""A data loader that goes on in the middle of an epoch, and a shuffle that depends on seed and epoch alone."""

__all__ = ["EpochShuffle", "ResumableLoader"]

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, Sampler

from core.errors import UserError


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
    after a resumed start.  Without workers, `DataLoader`'s machinery has nothing to do and is left out: 2 instead of 30
    microseconds a batch on one thread, and batches given out before an interruption are not made again, so that a data
    set that draws random numbers goes on with the same ones.  Arguments are those of `DataLoader`.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("generator", torch.Generator())
        super().__init__(*args, **kwargs)
        self._given, self._skip = 0, 0

    def __iter__(self) -> Iterator:  # type: ignore[override]  # any iterator serves
        skip, self._skip = self._skip, 0
        self._given = skip
        for batch in self._batches(skip):
            self._given += 1
            yield batch

    def _batches(self, skip: int) -> Iterator:
        iterable = isinstance(self.dataset, IterableDataset)
        if self.num_workers or self.pin_memory or self.batch_sampler is None or iterable:
            try:
                yield from islice(super().__iter__(), skip, None)
            except UserError as error:
                # A worker sends its traceback along, in front of the sentence.
                raise UserError(str(error).rsplit(f"{UserError.__name__}: ", 1)[-1].strip()) from None
            return
        whole = getattr(self.dataset, "__getitems__", None)
        for indices in islice(self.batch_sampler, skip, None):
            yield self.collate_fn(whole(indices) if whole else [self.dataset[n] for n in indices])

    def state_dict(self) -> dict[str, int]:
        """Batches given out in this epoch; none once it is over."""
        return {"given": self._given % max(1, len(self))}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next epoch begins after these batches."""
        self._skip = state["given"]
