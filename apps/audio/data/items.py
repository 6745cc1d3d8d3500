"""What the sources of data list: fixed mixtures with their references, and utterances that mixtures are made from.

Nothing is decoded before it is asked for.
"""

__all__ = ["Clip", "FileClip", "FileMixture", "Mixture", "MixtureItem", "StereoMixture"]

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError

from .waves import mono, read_channels, read_info, resample

Samples = NDArray[np.float32]


class Mixture(NamedTuple):
    """mixture (T,) and its references (S, T), float32."""

    mixture: Samples
    targets: Samples


class MixtureItem:
    """Base class: one fixed mixture of a source."""

    name: str

    def seconds(self) -> float:
        """How long it is, from the header alone."""
        raise TypeError(f"{type(self).__name__} must define seconds")

    def load(self, sample_rate: int) -> Mixture:
        """At this rate."""
        raise TypeError(f"{type(self).__name__} must define load")


@dataclass(frozen=True)
class FileMixture(MixtureItem):
    """A file of the mixture and one of each speaker, of one length."""

    name: str
    mixture: Path
    sources: tuple[Path, ...]

    def seconds(self) -> float:
        return _seconds(self.mixture)

    def load(self, sample_rate: int) -> Mixture:
        waves = [_at(path, sample_rate) for path in (self.mixture, *self.sources)]
        for path, wave in zip(self.sources, waves[1:], strict=True):
            if len(wave) != len(waves[0]):
                raise UserError(
                    f"{path}: has {len(wave)} samples, its mixture {self.mixture.name} {len(waves[0])}; the files do "
                    "not belong together."
                )
        return Mixture(waves[0], np.stack(waves[1:]))


@dataclass(frozen=True)
class StereoMixture(MixtureItem):
    """One file that holds a reference in each channel; the mixture is their sum. It has `frames` samples."""

    name: str
    path: Path
    frames: int

    def seconds(self) -> float:
        return _seconds(self.path)

    def load(self, sample_rate: int) -> Mixture:
        targets, rate = read_channels(self.path, 0, self.frames)
        if len(targets) < 2:
            raise UserError(f"{self.path}: has one channel; it needs one of each speaker.")
        targets = resample(targets, rate, sample_rate)
        return Mixture(targets.sum(0), targets)


class Clip:
    """Base class: one utterance of one speaker.

    Attributes:
        speaker: whose voice it is.
        sex: "F", "M" or "?".
        seconds: about how long it is.
    """

    speaker: str
    sex: str = "?"
    seconds: float

    def load(self, sample_rate: int) -> Samples:
        """(T,) at this rate."""
        raise TypeError(f"{type(self).__name__} must define load")


@dataclass(frozen=True)
class FileClip(Clip):
    """A part of a file, or all of it."""

    path: Path
    speaker: str
    rate: int
    start: int
    frames: int
    sex: str = "?"

    @property
    def seconds(self) -> float:  # type: ignore[override]
        return self.frames / self.rate

    def load(self, sample_rate: int) -> Samples:
        samples, rate = read_channels(self.path, self.start, self.frames)
        return resample(mono(samples), rate, sample_rate)


def _seconds(path: Path) -> float:
    info = read_info(path)
    return info.frames / info.sample_rate


def _at(path: Path, sample_rate: int) -> Samples:
    samples, rate = read_channels(path)
    return resample(mono(samples), rate, sample_rate)
