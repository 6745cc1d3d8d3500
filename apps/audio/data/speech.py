"""Speech that is mixed on the fly: utterances, each with its speaker.

Speakers        a folder in which each sub-folder is a speaker (LibriSpeech, VCTK), or a list of utterances
SampleSpeech    251 voices of LibriSpeech for training, 10 others for validation
Voices          the built-in generator: nothing to download
"""

__all__ = ["Listed", "SampleSpeech", "Speakers", "Speech", "Store", "Voices"]

from collections import Counter, OrderedDict
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError

from .items import Clip, FileClip
from .lists import Located, number, read_rows
from .public import data_folder
from .sources import Source
from .voices import voice
from .waves import list_waves, mono, read_channels, read_info

LONGEST = 20.0
"""Seconds; longer files of a folder are cut into equal parts of at most that."""


class Speech(Source):
    """Base class: `clips()` lists utterances."""

    def clips(self) -> list[Clip]:
        """One entry an utterance, in a fixed order."""
        raise TypeError(f"{type(self).__name__} must define clips")


class Speakers(Speech):
    """Your own speech.

    Args:
        path: a folder with a folder for each speaker, or a .csv with the columns file and speaker and, if a file holds
            several utterances, start and frames (in samples of the file); sex (F, M) if known.
    """

    def __init__(self, path: str):
        self.path = Path(path)
        self.label = self.path.stem or str(path)

    def clips(self) -> list[Clip]:
        clips = self._of_list() if self.path.suffix.lower() == ".csv" else self._of_folder()
        if len({clip.speaker for clip in clips}) < 2:
            raise UserError(
                f"{self.path}: holds one speaker; mixtures need two at least, each in a folder of their own."
            )
        return clips

    def _of_folder(self) -> list[Clip]:
        clips: list[Clip] = []
        for path in list_waves(self.path):
            folders = path.relative_to(self.path).parts[:-1]
            if not folders:
                raise UserError(f"{path}: lies beside the folders of the speakers; put it into the one it belongs to.")
            info = read_info(path)
            parts = -(-info.frames // int(LONGEST * info.sample_rate))
            bounds = [info.frames * n // parts for n in range(parts + 1)]
            clips += [
                FileClip(path, folders[0], info.sample_rate, start, end - start) for start, end in pairwise(bounds)
            ]
        return clips

    def _of_list(self) -> list[Clip]:
        rows = read_rows(self.path)
        ranged = "start" in rows[0].fields or "frames" in rows[0].fields
        find, clips = Located(self.path), []
        header = lru_cache(maxsize=None)(read_info)
        for row in rows:
            path = find(row, "file")
            info = header(path)
            start = number(row, "start") if ranged else 0
            frames = number(row, "frames") if ranged else info.frames
            if not 0 < frames <= info.frames - start:
                raise UserError(
                    f"{row}: samples {start} to {start + frames} of {path.name}, which has {info.frames}; mend start "
                    "and frames."
                )
            sex = row.fields.get("sex") or "?"
            clips.append(FileClip(path, row["speaker"], info.sample_rate, start, frames, sex))
        return list(clips)


class SampleSpeech(Speakers):
    """Utterances of LibriSpeech at 8 kHz: `train` has one of each of 251 speakers (31 min), `dev` two of 10 others.

    Args:
        part: train or dev.
        path: folder with `train/<part>.csv`; `audio` below $OMNIMIX_DATA or `data` by default.
    """

    def __init__(self, part: str = "train", path: str | None = None):
        super().__init__(str(data_folder("", path) / "train" / f"{part}.csv"))
        self.label = f"LibriSpeech samples, {part}"


class Voices(Speech):
    """Built-in voices (`voices.voice`).

    Args:
        speakers: how many, at least 2.
        utterances: of each.
        seconds: of each utterance.
        seed: of the speakers; another seed gives other ones.
    """

    label = "built-in voices"

    def __init__(self, speakers: int = 40, utterances: int = 4, seconds: float = 5.0, seed: int = 0):
        if speakers < 2 or utterances < 1 or seconds <= 0:
            raise UserError(
                f"--data: Voices needs speakers >= 2, utterances >= 1 and seconds > 0, got {speakers}, {utterances} "
                f"and {seconds:g}."
            )
        self.speakers, self.utterances, self.length, self.seed = speakers, utterances, seconds, seed

    def clips(self) -> list[Clip]:
        return [
            Spoken(self.seed, speaker, index, self.length)
            for speaker in range(self.speakers)
            for index in range(self.utterances)
        ]


class Listed(Speech):
    """Utterances that are listed already.

    Args:
        clips: any.
        label: where they come from.
    """

    def __init__(self, clips: list[Clip], label: str):
        self._clips, self.label = clips, label

    def clips(self) -> list[Clip]:
        return self._clips


class Spoken(Clip):
    """An utterance of the generator, made when asked for."""

    def __init__(self, seed: int, number: int, index: int, seconds: float):
        self.seed, self.number, self.index, self.seconds = seed, number, index, seconds
        self.speaker = f"voice-{seed}-{number:03d}"

    def load(self, sample_rate: int) -> NDArray[np.float32]:
        return voice(self.seed, self.number, self.index, round(self.seconds * sample_rate), sample_rate)


class Store:
    """Utterances at one rate, decoded once as long as they fit into memory; files of several are decoded
    whole, once, then cut, unless one by itself does not fit.

    Args:
        clips: of a source.
        sample_rate: at which they are wanted.
        memory_mb: what is kept; the least recently used goes first. Every loader process has its own.
    """

    def __init__(self, clips: list[Clip], sample_rate: int, memory_mb: float = 2000):
        self.clips, self.sample_rate = clips, sample_rate
        self.room = int(memory_mb * 2**20)
        self._kept: OrderedDict[object, NDArray[np.float32]] = OrderedDict()
        self._shared = _shared_files(clips, self.room)

        names = sorted({clip.speaker for clip in clips})
        place = {name: n for n, name in enumerate(names)}
        members: list[list[int]] = [[] for _ in names]
        for index, clip in enumerate(clips):
            members[place[clip.speaker]].append(index)
        self._speakers = names, np.array([len(m) / len(clips) for m in members]), [np.array(m) for m in members]

    def __len__(self) -> int:
        return len(self.clips)

    def speakers(self) -> tuple[list[str], NDArray[np.float64], list[NDArray[np.int64]]]:
        """Names, each one's share of the utterances, and the numbers of these."""
        return self._speakers

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        """(T,) of one utterance; not to be written to."""
        clip = self.clips[index]
        if isinstance(clip, FileClip) and clip.path in self._shared and clip.rate == self.sample_rate:
            whole = self._keep(clip.path, lambda: mono(read_channels(clip.path)[0]))
            return whole[clip.start : clip.start + clip.frames]
        return self._keep(index, lambda: clip.load(self.sample_rate))

    def _keep(self, key, make):
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = np.ascontiguousarray(make())
        self._kept[key] = made
        self.room -= made.nbytes
        while self.room < 0 and len(self._kept) > 1:
            self.room += self._kept.popitem(last=False)[1].nbytes
        return made


def _shared_files(clips: list[Clip], room: int) -> set[Path]:
    """Files that hold several utterances and fit: seeking in Vorbis costs more than decoding all of it once."""
    counts: Counter[Path] = Counter()
    ends: dict[Path, int] = {}
    for clip in clips:
        if isinstance(clip, FileClip):
            counts[clip.path] += 1
            ends[clip.path] = max(ends.get(clip.path, 0), clip.start + clip.frames)
    return {path for path, count in counts.items() if count > 1 and 4 * ends[path] <= room}
