"""Recordings of any length, block by block: reading, resampling, and writing without clipping.

A sinc of finite width looks at few neighbours, so resampling a block with a margin, both of whole periods of the two
rates, gives what resampling the whole gives. How loud the loudest sample will be is known at the end only: results are
kept in unnamed files beside the targets, as float32, and become the files asked for when all is written, scaled by one
factor if one of them would clip. Nothing is left behind when the work is interrupted.
"""

__all__ = ["Recording", "WaveWriters", "resampled"]

import math
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
import soundfile
from numpy.typing import NDArray

from core.errors import UserError
from core.training.files import writing

from .waves import (
    check_ending,
    check_samples,
    is_clipped,
    limit,
    mono,
    open_wave,
    read_info,
    resample,
    subtype_for,
)

Samples = NDArray[np.float32]

BLOCK = 2**17
ZEROS = 6
"""Of torchaudio's sinc to each side."""


class Recording:
    """A file to be read block by block; what has to be said about it are warnings.

    Args:
        path: of the file.
        sample_rate: at which it is wanted.

    Raises:
        UserError: as `open_wave`.
    """

    def __init__(self, path: str | Path, sample_rate: int):
        self.path, self.sample_rate = Path(path), sample_rate
        self.info = read_info(self.path)

    @property
    def frames(self) -> int:
        """Samples at the rate wanted."""
        return -(-self.info.frames * self.sample_rate // self.info.sample_rate)

    def blocks(self) -> Iterator[Samples]:
        """One channel (n,), `frames` in all.

        Raises:
            UserError: NaN or infinite samples, a file that ends too early.
        """
        name, info = self.path.name, self.info
        if info.channels > 1:
            warnings.warn(f"{name}: {info.channels} channels are mixed down to one.", stacklevel=2)
        if info.sample_rate > self.sample_rate:
            warnings.warn(
                f"{name}: has {info.sample_rate} Hz, the network works at {self.sample_rate} Hz; what lies above "
                f"{self.sample_rate // 2} Hz is lost.",
                stacklevel=2,
            )
        yield from resampled(self._read(), info.sample_rate, self.sample_rate)

    def _read(self) -> Iterator[Samples]:
        given, clipped = 0, False
        with open_wave(self.path) as file:
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                samples = np.ascontiguousarray(block.T)
                check_samples(self.path, samples, given)
                if not clipped and is_clipped(samples):
                    clipped = True
                    warnings.warn(
                        f"{self.path.name}: is clipped (runs at full scale); it is used as it is.", stacklevel=2
                    )
                given += samples.shape[1]
                yield mono(samples)
        if given < self.info.frames:
            raise UserError(
                f"{self.path.name}: is cut off ({given} of {self.info.frames} samples are there); copy the file again."
            )


def resampled(blocks: Iterable[Samples], rate: int, new_rate: int) -> Iterator[Samples]:
    """Blocks (..., n) at another rate; together what `resample` makes of the whole, to rounding."""
    if rate == new_rate:
        yield from blocks
        return
    common = math.gcd(rate, new_rate)
    period, made = rate // common, new_rate // common
    reach = math.ceil(ZEROS * period / (0.99 * min(period, made))) + period
    margin = -(-reach // period) * period
    held, lead = None, 0
    for block in blocks:
        held = block if held is None else np.concatenate([held, block], -1)
        ready = (held.shape[-1] - lead - margin) // period * period
        if ready < 8 * margin:
            continue
        end = lead + ready
        whole = resample(np.ascontiguousarray(held[..., : end + margin]), rate, new_rate)
        yield whole[..., lead // period * made : end // period * made]
        lead = min(end, margin)
        held = held[..., end - lead :]
    if held is not None and held.shape[-1] > lead:
        yield resample(np.ascontiguousarray(held), rate, new_rate)[..., lead // period * made :]


class WaveWriters:
    """Several files of one channel, written together; a context manager, at whose end they appear, all or none.

    Args:
        paths: .wav, .flac, .ogg or .mp3.
        sample_rate: of all.
        like: sample format of the input, kept where the new one has it.

    Attributes:
        factor: by which all were scaled so that none clips; known at the end.
        frames: samples written to each.

    Raises:
        UserError: an unknown ending, a folder that cannot be written.
    """

    def __init__(self, paths: Sequence[str | Path], sample_rate: int, like: str | None = None):
        self.paths, self.sample_rate = [Path(path) for path in paths], sample_rate
        self.subtypes = [subtype_for(path, like) for path in self.paths]
        self.factor, self.frames = 1.0, 0
        self._peaks = np.zeros(len(self.paths))
        self._stack = ExitStack()
        self._kept: list[IO[bytes]] = []

    def __enter__(self) -> "WaveWriters":
        try:
            for path in self.paths:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._kept.append(self._stack.enter_context(tempfile.TemporaryFile(dir=path.parent)))
        except OSError as error:
            self._stack.close()
            raise _unwritable(self.paths[0], error) from error
        return self

    def write(self, block: Samples) -> None:
        """The next samples (files, n)."""
        if block.ndim != 2 or len(block) != len(self.paths):
            raise ValueError(f"WaveWriters: expected ({len(self.paths)}, n), got {block.shape}.")
        self._peaks = np.maximum(self._peaks, np.abs(block).max(1, initial=0))
        self.frames += block.shape[1]
        try:
            for file, wave in zip(self._kept, block, strict=True):
                file.write(np.ascontiguousarray(wave, np.float32).tobytes())
        except OSError as error:
            raise _unwritable(self.paths[0], error) from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        with self._stack:
            if kind is None:
                self._finish()

    def _finish(self) -> None:
        self.factor = min(limit(float(p), s) for p, s in zip(self._peaks, self.subtypes, strict=True))
        try:
            with ExitStack() as results:
                for path, kept, subtype in zip(self.paths, self._kept, self.subtypes, strict=True):
                    beside = results.enter_context(writing(path))
                    kept.seek(0)
                    form = {"subtype": subtype, "format": check_ending(path)}
                    with soundfile.SoundFile(beside, "w", self.sample_rate, 1, **form) as file:
                        while data := kept.read(4 * BLOCK):
                            file.write(np.frombuffer(data, np.float32) * np.float32(self.factor))
        except (OSError, soundfile.LibsndfileError) as error:
            raise _unwritable(self.paths[0], error) from error


def _unwritable(path: Path, error: Exception) -> UserError:
    said = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error)
    return UserError(f"{path}: cannot be written ({said}); choose another folder or write a .wav.")
