"""Samples and batches: endless training windows, whole mixtures, and mixtures made once of a source of speech."""

__all__ = ["Batch", "Crops", "Dynamic", "Mixed", "Whole", "collate", "collate_whole"]

from typing import NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from apps.audio.mixing import SILENT, TRIES, Mixing
from core.errors import UserError
from core.training.draws import generator

from .items import Mixture, MixtureItem
from .sources import Mixtures
from .speech import Speech, Store


class Batch(TypedDict):
    """Clips padded with zeros to the longest.

    mixture (B, T), targets (B, S, T), lengths (B,) samples of each; name and index (in its part) of whole mixtures.
    """

    mixture: Tensor
    targets: Tensor
    lengths: Tensor
    name: NotRequired[list[str]]
    index: NotRequired[list[int]]


class Dynamic(Dataset[Mixture]):
    """Endless mixtures; sample n is a function of (seed, n).

    Args:
        store: the utterances.
        mixing: how they are put together.
        frames: length of a sample.
        seed: of the run.
    """

    def __init__(self, store: Store, mixing: Mixing, frames: int, seed: int = 0):
        self.store, self.mixing, self.frames, self.seed = store, mixing, frames, seed

    def __getitem__(self, index: int) -> Mixture:
        return self.mixing.draw(self.store, self.frames, self.seed, index)


class Crops(Dataset[Mixture]):
    """Endless windows of fixed mixtures; sample n is a function of (seed, n).

    A window in which a reference is silent is drawn again; mixtures shorter than a window are taken whole.

    Args:
        items: of a source.
        frames: length of a window.
        sample_rate: at which they are wanted.
        seed: of the run.
    """

    def __init__(self, items: list[MixtureItem], frames: int, sample_rate: int, seed: int = 0):
        self.items, self.frames, self.sample_rate, self.seed = items, frames, sample_rate, seed

    def __getitem__(self, index: int) -> Mixture:
        rng = generator(self.seed, index)
        for _ in range(TRIES):
            mixture, targets = self.items[int(rng.integers(len(self.items)))].load(self.sample_rate)
            start = int(rng.integers(max(0, len(mixture) - self.frames) + 1))
            part = targets[:, start : start + self.frames]
            if (np.square(part).mean(1) > SILENT**2 * np.square(targets).mean(1)).all():
                return Mixture(mixture[start : start + self.frames], part)
        raise UserError(f"--data: in {TRIES} windows drawn one after the other a reference is silent; check the files.")


class Whole(Dataset[tuple[int, str, Mixture]]):
    """Whole mixtures, decoded when asked for: (number, name, mixture).

    Args:
        items: of a source.
        sample_rate: at which they are wanted.
        speakers: S.
    """

    def __init__(self, items: list[MixtureItem], sample_rate: int, speakers: int):
        self.items, self.sample_rate, self.speakers = items, sample_rate, speakers

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[int, str, Mixture]:
        item = self.items[index]
        mixture = item.load(self.sample_rate)
        if len(mixture.targets) != self.speakers:
            raise UserError(
                f"{item.name}: has {len(mixture.targets)} speakers, --data.speakers is {self.speakers}; make them "
                "equal."
            )
        return index, item.name, mixture


class Mixed(Mixtures):
    """Fixed mixtures made of a source of speech, the same ones every time.

    Args:
        speech: the utterances.
        count: how many mixtures.
        seconds: length of each.
        mixing: how they are put together; two speakers at their own speed by default.
        seed: of the draws.
    """

    def __init__(
        self, speech: Speech, count: int = 24, seconds: float = 4.0, mixing: Mixing | None = None, seed: int = 0
    ):
        if count < 1 or seconds <= 0:
            raise UserError(f"--data: Mixed needs count >= 1 and seconds > 0, got {count} and {seconds:g}.")
        self.speech, self.count, self.seconds, self.seed = speech, count, seconds, seed
        self.mixing = mixing or Mixing(speed=(1.0, 1.0))
        self.label = f"{count} mixtures of {speech.label}"
        self._stores: dict[int, Store] = {}

    def items(self) -> list[MixtureItem]:
        return [MixedItem(self, index) for index in range(self.count)]

    def store(self, sample_rate: int) -> Store:
        """The utterances at this rate."""
        if sample_rate not in self._stores:
            self._stores[sample_rate] = Store(self.speech.clips(), sample_rate)
        return self._stores[sample_rate]


class MixedItem(MixtureItem):
    """One drawn mixture."""

    def __init__(self, source: Mixed, index: int):
        self.source, self.index, self.name = source, index, f"mixed-{index:03d}"

    def seconds(self) -> float:
        return self.source.seconds

    def load(self, sample_rate: int) -> Mixture:
        source = self.source
        frames = round(source.seconds * sample_rate)
        return source.mixing.draw(source.store(sample_rate), frames, source.seed, self.index)


def collate(samples: list[Mixture]) -> Batch:
    """Clips of any lengths, padded with zeros."""
    lengths = torch.tensor([len(sample.mixture) for sample in samples])
    longest, speakers = int(lengths.max()), len(samples[0].targets)
    mixture = torch.zeros(len(samples), longest)
    targets = torch.zeros(len(samples), speakers, longest)
    for n, sample in enumerate(samples):
        mixture[n, : lengths[n]] = torch.from_numpy(sample.mixture)
        targets[n, :, : lengths[n]] = torch.from_numpy(sample.targets)
    return {"mixture": mixture, "targets": targets, "lengths": lengths}


def collate_whole(samples: list[tuple[int, str, Mixture]]) -> Batch:
    """Samples of `Whole`, with their names and numbers."""
    batch = collate([mixture for _, _, mixture in samples])
    batch["name"] = [name for _, name, _ in samples]
    batch["index"] = [index for index, _, _ in samples]
    return batch
