"""Audio files to arrays and back: whatever people have in, one sentence if it cannot be.

Read: WAV, FLAC, OGG (Vorbis, Opus), MP3 and what else libsndfile knows, at any rate. Refused: what is no audio, holds
no samples, holds NaN or infinite samples, or is cut off. libsndfile itself reads a WAV that was cut off, and an Ogg
stream without its end, as if they were whole; the size in the RIFF header and the mark of the last Ogg page say
otherwise. Not noticed: an MP3 of variable bit rate without the header that says so (Xing, VBRI), of which libsndfile
guesses the length.

Written: by the name's ending, whole or not at all, and never clipped: what would pass the largest value of an integer
format is scaled down, all waves of a recording by ONE factor, which is returned. Floating WAV holds any value, so it
stays as it is. The sample format of the input is kept where the new format has it.

Waves are float32 in [-1, 1], channels first: (T,) or (C, T).
"""

__all__ = [
    "ENDINGS",
    "WaveInfo",
    "check_ending",
    "check_samples",
    "is_clipped",
    "limit",
    "list_waves",
    "mono",
    "open_wave",
    "read_channels",
    "read_info",
    "read_wave",
    "resample",
    "subtype_for",
    "write_wave",
    "write_waves",
]

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
import torchaudio
from numpy.typing import NDArray

from core.errors import UserError
from core.training.files import writing

Samples = NDArray[np.float32]

ENDINGS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3"}
LIMIT = 0.999
"""Peak to which waves are scaled down that would clip."""

DEFAULTS = {"WAV": "PCM_16", "FLAC": "PCM_16", "OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}
UNBOUNDED = ("FLOAT", "DOUBLE")
CLIPPED_RUN = 3
EXTRACT = "convert it to WAV, FLAC, OGG or MP3"


class WaveInfo(NamedTuple):
    """What the header says: samples of a channel, a second, channels, container and sample format."""

    frames: int
    sample_rate: int
    channels: int
    format: str
    subtype: str


@contextmanager
def open_wave(path: str | Path) -> Iterator[soundfile.SoundFile]:
    """An open file, checked to be whole; what decoders raise inside the block becomes one sentence.

    Raises:
        UserError: not there, not audio, empty, cut off.
    """
    path = Path(path)
    _check_readable(path)
    try:
        with soundfile.SoundFile(path) as file:
            if file.format in ("WAV", "WAVEX", "OGG"):
                _check_whole(path, file.format)
            if not file.frames:
                raise UserError(f"{path.name}: holds no samples; record or export it again.")
            yield file
    except soundfile.LibsndfileError as error:
        if error.code == 1:  # format not recognised
            raise UserError(f"{path.name}: is not audio that can be read here; {EXTRACT}.") from error
        raise UserError(f"{path.name}: is broken or cut off ({error.error_string}); copy the file again.") from error
    except TypeError as error:  # headerless formats are known by their ending alone
        raise UserError(f"{path.name}: has no header that tells rate and format; {EXTRACT}.") from error


def read_info(path: str | Path) -> WaveInfo:
    """The header of a file, checked as `open_wave` does."""
    with open_wave(path) as file:
        return WaveInfo(file.frames, file.samplerate, file.channels, file.format, file.subtype)


def read_channels(path: str | Path, start: int = 0, frames: int | None = None) -> tuple[Samples, int]:
    """(C, T) as it stands in the file, and its rate.

    Args:
        path: of the file.
        start: first sample read.
        frames: how many; to the end by default.

    Raises:
        UserError: as `open_wave`; fewer samples than asked for, NaN or infinite samples.
    """
    path = Path(path)
    with open_wave(path) as file:
        wanted = file.frames - start if frames is None else frames
        if start + wanted > file.frames or wanted < 1:
            raise UserError(
                f"{path.name}: samples {start} to {start + wanted} were asked for, it has {file.frames}; it is not the "
                "file the list was made for."
            )
        if start:
            file.seek(start)
        samples = file.read(wanted, dtype="float32", always_2d=True).T
        rate = file.samplerate
    if samples.shape[1] < wanted:
        raise UserError(
            f"{path.name}: is cut off ({samples.shape[1]} of {wanted} samples are there); copy the file again."
        )
    check_samples(path, samples, start)
    return np.ascontiguousarray(samples), rate


def read_wave(path: str | Path, sample_rate: int | None = None, start: int = 0, frames: int | None = None) -> Samples:
    """One channel (T,), at `sample_rate` or at the file's own rate.

    Several channels are mixed down, which a warning says; so is a recording that was clipped.
    """
    samples, rate = read_channels(path, start, frames)
    if is_clipped(samples):
        warnings.warn(f"{Path(path).name}: is clipped (runs at full scale); it is used as it is.", stacklevel=2)
    if len(samples) > 1:
        warnings.warn(f"{Path(path).name}: {len(samples)} channels are mixed down to one.", stacklevel=2)
    return resample(mono(samples), rate, sample_rate or rate)


def mono(samples: Samples) -> Samples:
    """(C, T) to (T,): the mean of the channels."""
    return samples[0] if len(samples) == 1 else samples.mean(0)


def is_clipped(samples: Samples) -> bool:
    """Whether (..., T) stays at full scale, at its own peak, for three samples or more anywhere."""
    peak = float(np.abs(samples).max(initial=0))
    if peak < 0.99:
        return False
    # An integer format's largest values are 1 and 1 - 2^-15 for the two signs.
    high = np.abs(samples) >= min(peak, 1.0) - 2**-14
    run = high[..., 2:] & high[..., 1:-1] & high[..., :-2]
    same = np.sign(samples[..., 2:]) == np.sign(samples[..., :-2])
    return bool((run & same).any())


def check_samples(path: str | Path, samples: Samples, start: int = 0) -> None:
    """That (C, T) are numbers; the first that is none is named by its place, `start` being that of the first.

    Raises:
        UserError: there are NaN or infinite samples.
    """
    # A sum is finite unless something in it is not (or the values are beyond all audio).
    if not np.isfinite(samples.sum(dtype=np.float64)):
        where = start + int(np.argmin(np.isfinite(samples).all(0)))
        raise UserError(f"{Path(path).name}: sample {where} is NaN or infinite; export the file again.")


def resample(samples: Samples, rate: int, new_rate: int) -> Samples:
    """(..., T) at another rate, ceil(T new_rate / rate) samples: a Hann-windowed sinc (torchaudio's)."""
    if rate == new_rate:
        return samples
    return torchaudio.functional.resample(torch.from_numpy(samples), rate, new_rate).numpy()


def limit(peak: float, subtype: str) -> float:
    """The factor at most 1 that brings `peak` below clipping in this sample format."""
    return 1.0 if subtype in UNBOUNDED or peak <= LIMIT else LIMIT / peak


def check_ending(path: str | Path) -> str:
    """The container of a file to write, by the name's ending.

    Raises:
        UserError: an ending that is not known.
    """
    kind = ENDINGS.get(Path(path).suffix.lower())
    if kind is None:
        raise UserError(f"{path}: unknown audio format {Path(path).suffix!r}; use one of {', '.join(ENDINGS)}.")
    return kind


def subtype_for(path: str | Path, like: str | None = None) -> str:
    """The sample format to write `path` in: `like` (of the input) where the container has it, else 16 bit."""
    kind = check_ending(path)
    kept = like is not None and like.startswith(("PCM", *UNBOUNDED)) and soundfile.check_format(kind, like)
    return like if kept else DEFAULTS[kind]  # type: ignore[return-value]


def write_wave(path: str | Path, samples: Samples, sample_rate: int, like: str | None = None) -> float:
    """Writes (T,) or (C, T) and returns the limiter's factor; see `write_waves`."""
    return write_waves([path], [samples], sample_rate, like)


def write_waves(
    paths: Sequence[str | Path], waves: Sequence[Samples], sample_rate: int, like: str | None = None
) -> float:
    """Writes the waves of one recording, all or none, scaled by one factor if one of them would clip.

    Args:
        paths: .wav, .flac, .ogg or .mp3.
        waves: (T,) or (C, T) each.
        sample_rate: of all.
        like: sample format of the input, `WaveInfo.subtype`; 16 bit by default.

    Returns:
        The factor, 1 if nothing was too loud.

    Raises:
        UserError: unknown ending, a rate that the format does not have, a folder that cannot be written.
        ValueError: NaN or infinite samples, or another shape.
    """
    for wave in waves:
        if wave.ndim not in (1, 2) or not wave.size:
            raise ValueError(f"write_waves: expected (T,) or (C, T), got {wave.shape}.")
        if not np.isfinite(wave).all():
            raise ValueError("write_waves: the wave holds NaN or infinite samples; nothing is written.")
    subtypes = [subtype_for(path, like) for path in paths]
    factor = min(limit(float(np.abs(w).max()), s) for w, s in zip(waves, subtypes, strict=True))
    try:
        with ExitStack() as stack:
            for path, wave, subtype in zip(paths, waves, subtypes, strict=True):
                beside = stack.enter_context(writing(path))
                values = (wave.T * np.float32(factor)).astype(np.float32)
                soundfile.write(beside, values, sample_rate, subtype=subtype, format=check_ending(path))
    except OSError as error:
        raise UserError(f"{paths[0]}: cannot be written ({error.strerror or error}); choose another folder.") from error
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"{paths[0]}: cannot be written at {sample_rate} Hz in this format ({error.error_string}); write a .wav."
        ) from error
    return factor


def list_waves(folder: str | Path) -> list[Path]:
    """All audio files in a folder and those below it, in the order of their names.

    Raises:
        UserError: the folder is not there or holds none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; name one with audio files.")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS and not p.name.startswith("."))
    if not files:
        raise UserError(f"{folder}: holds no {', '.join(ENDINGS)}; name a folder with audio files.")
    return files


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb") as file:
            if file.read(1):
                return
    except OSError as error:
        what = "is a folder" if path.is_dir() else (error.strerror or str(error)).lower()
        raise UserError(f"{path}: cannot be read ({what}); name an audio file.") from error
    raise UserError(f"{path.name}: is empty (0 bytes); copy the file again.")


def _check_whole(path: Path, kind: str) -> None:
    """That a WAV is as long as its header says, and that an Ogg stream ends."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if kind == "OGG":
            file.seek(max(0, size - 2**17))  # a page has at most 64 KiB
            tail = file.read()
            page = tail.rfind(b"OggS")
            # Of a page: a flag for the last one, the number of its segments, their lengths, their bytes.
            head = tail[page : page + 27]
            lengths = tail[page + 27 : page + 27 + head[26]] if page >= 0 and len(head) == 27 else b""
            whole = bool(lengths) and bool(head[5] & 4) and page + 27 + len(lengths) + sum(lengths) <= len(tail)
            missing = "its last page is missing"
        else:
            declared = 8 + int.from_bytes(file.read(8)[4:], "little")
            # Programs that write to a pipe do not know the size and leave 0 or the largest number.
            whole = declared <= size + 1 or declared >= 2**31
            missing = f"{size} of {declared} bytes are there"
    if not whole:
        raise UserError(f"{path.name}: is cut off ({missing}); copy the file again.")
