"""Mixtures made while training runs: other speakers, words, levels and rooms at every step.

Draw n of a run: S speakers, none twice, in proportion to their utterances; of each an utterance, played at
 0.9 to 1.1 of its speed (pitch and formants move along), a window of it, a level. The levels are drawn as for LibriMix
and WHAM! (loudness between -33 and -25, noise 5 dB lower), or by RMS. Reverberation and noise are optional; references
are then the speech as it arrives on the straight way. One factor for mixture and references keeps the peak below 0.9.

    mixture = f (sum_s g_s (r_s * x_s) + g_n noise),    target_s = f g_s (d_s * x_s)

with r_s the room from speaker to microphone and d_s its direct path. Silent windows are drawn again. A shorter
utterance lies somewhere in its window, the rest is silence.

Every draw depends on (seed, index) alone, so neither workers nor ranks nor interruptions change it.
"""

__all__ = ["ColouredNoise", "Level", "Mixing", "Noise", "NoiseFiles", "Room"]

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve, firwin, resample_poly

from apps.audio.data.items import Mixture
from apps.audio.data.speech import Store
from apps.audio.data.waves import list_waves, mono, read_channels, read_info, resample
from apps.audio.loudness import loudness
from core.errors import UserError
from core.training.draws import generator

Samples = NDArray[np.float32]
Level = Callable[[Samples, int], float]

SILENT = 0.03
TRIES = 200


class Noise:
    """Base class: `draw` gives noise of any level."""

    def draw(self, rng: np.random.Generator, frames: int, sample_rate: int) -> Samples:
        """(frames,)."""
        raise TypeError(f"{type(self).__name__} must define draw")


class ColouredNoise(Noise):
    """Noise whose power falls as 1 / f^colour, white (0) to brown (2)."""

    def draw(self, rng: np.random.Generator, frames: int, sample_rate: int) -> Samples:
        """(frames,), of deviation 1."""
        spectrum = np.fft.rfft(rng.standard_normal(frames))
        f = np.maximum(np.fft.rfftfreq(frames, 1 / sample_rate), 50)
        noise = np.fft.irfft(spectrum * f ** (-rng.uniform(0, 2) / 2), frames)
        return (noise / max(float(noise.std()), 1e-12)).astype(np.float32)


class NoiseFiles(Noise):
    """Windows of recordings; a shorter one is repeated.

    Args:
        path: folder of audio files.
    """

    def __init__(self, path: str):
        self.path = path
        self.files = list_waves(path)
        self._infos = [read_info(file) for file in self.files]

    def draw(self, rng: np.random.Generator, frames: int, sample_rate: int) -> Samples:
        """(frames,), at the level of the file."""
        which = int(rng.integers(len(self.files)))
        info = self._infos[which]
        wanted = min(info.frames, -(-frames * info.sample_rate // sample_rate))
        start = int(rng.integers(info.frames - wanted + 1))
        samples, rate = read_channels(self.files[which], start, wanted)
        return np.resize(resample(mono(samples), rate, sample_rate), frames)


class Room:
    """Simple rooms: a direct path, then noise that dies away exponentially, louder the farther the speaker is.

    Not the shape of any real room (no image sources), but its decay time and its ratio of direct to reverberant sound.

    Args:
        decay: seconds until the sound has fallen by 60 dB, drawn from this range, the same for all speakers.
        direct: dB of the direct path above all reflections, drawn for each speaker.
    """

    def __init__(self, decay: tuple[float, float] = (0.2, 0.6), direct: tuple[float, float] = (0.0, 10.0)):
        if not 0 < decay[0] <= decay[1] or direct[0] > direct[1]:
            raise UserError(f"Room: decay {decay} and direct {direct} must be ranges, from low to high.")
        self.decay, self.direct = decay, direct

    def responses(self, rng: np.random.Generator, speakers: int, sample_rate: int) -> list[Samples]:
        """What each speaker's reflections are: (K,) to be added to the direct sound, which is 1 at time 0."""
        decay, made = rng.uniform(*self.decay), []
        time = np.arange(1, max(2, int(decay * sample_rate))) / sample_rate
        for _ in range(speakers):
            gap = rng.uniform(0.002, 0.01)
            tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / decay) * (time > gap)
            power = 10 ** (-rng.uniform(*self.direct) / 10)
            tail *= np.sqrt(power / max(float((tail**2).sum()), 1e-12))
            made.append(np.concatenate([[0], tail]).astype(np.float32))
        return made


class Mixing:
    """How mixtures are drawn.

    Args:
        speakers: S.
        levels: range of a speaker's level in dB, by `level`.
        level: measures a clip: `apps.audio.loudness.loudness` (LUFS) or `.power` (RMS).
        speed: range of the speed, in steps of 0.01; (1, 1) leaves it.
        noise: what is added, or nothing.
        noise_levels: range of its level in dB, by `level`.
        room: reverberation, or none.
        peak: largest value of a mixture.
    """

    def __init__(
        self,
        speakers: int = 2,
        levels: tuple[float, float] = (-33.0, -25.0),
        level: Level = loudness,
        speed: tuple[float, float] = (0.9, 1.1),
        noise: Noise | None = None,
        noise_levels: tuple[float, float] = (-38.0, -30.0),
        room: Room | None = None,
        peak: float = 0.9,
    ):
        if speakers < 1 or peak <= 0 or not 0.5 <= speed[0] <= speed[1] <= 2:
            raise UserError(
                f"Mixing: speakers {speakers} must be at least 1, peak {peak} above 0, speed {speed} a range within "
                "0.5 and 2."
            )
        if levels[0] > levels[1] or noise_levels[0] > noise_levels[1]:
            raise UserError(f"Mixing: levels {levels} and noise_levels {noise_levels} must be ranges, low to high.")
        self.speakers, self.levels, self.level, self.speed = speakers, levels, level, speed
        self.noise, self.noise_levels, self.room, self.peak = noise, noise_levels, room, peak

    def draw(self, store: Store, frames: int, seed: int, index: int) -> Mixture:
        """One mixture (frames,) with its references (S, frames).

        Args:
            store: the utterances, of at least S speakers.
            frames: length.
            seed, index: what the draw depends on.

        Raises:
            UserError: fewer speakers than S; utterances that are silent.
        """
        return self.combine(self.voices(store, frames, generator(seed, index)), store.sample_rate, seed, index)

    def voices(self, store: Store, frames: int, rng: np.random.Generator) -> list[Samples]:
        """Windows (frames,) of S different speakers, as loud as they were recorded."""
        names, shares, members = store.speakers()
        if len(names) < self.speakers:
            raise UserError(
                f"--data: {self.speakers} speakers cannot be drawn from {len(names)}; name more speech, or fewer "
                "--data.mixing.speakers."
            )
        chosen = rng.choice(len(names), self.speakers, replace=False, p=shares)
        return [self._window(store, members[speaker], frames, rng) for speaker in chosen]

    def combine(self, voices: list[Samples], sample_rate: int, seed: int, index: int) -> Mixture:
        """Voices (frames,) put at their levels, into a room, and together."""
        # A generator of its own: how often windows were drawn again does not move the levels.
        rng = generator(seed ^ 2**63, index)
        targets = np.stack([self._levelled(x, rng.uniform(*self.levels), sample_rate) for x in voices])
        mixture = targets.sum(0)
        if self.room is not None:
            responses = self.room.responses(rng, len(targets), sample_rate)
            for x, response in zip(targets, responses, strict=True):
                mixture += fftconvolve(x, response)[: len(x)].astype(np.float32)
        if self.noise is not None:
            noise = self.noise.draw(rng, len(mixture), sample_rate)
            mixture += self._levelled(noise, rng.uniform(*self.noise_levels), sample_rate)
        highest = float(max(np.abs(mixture).max(), np.abs(targets).max()))
        factor = np.float32(min(1.0, self.peak / max(highest, 1e-12)))
        return Mixture(mixture * factor, targets * factor)

    def _levelled(self, x: Samples, wanted: float, sample_rate: int) -> Samples:
        return x * np.float32(10 ** ((wanted - self.level(x, sample_rate)) / 20))

    def _window(self, store: Store, members: NDArray[np.int64], frames: int, rng: np.random.Generator) -> Samples:
        """A window of one of these utterances, at another speed, not silent."""
        for _ in range(TRIES):
            clip = store[int(rng.choice(members))]
            percent = int(rng.integers(round(100 * self.speed[0]), round(100 * self.speed[1]) + 1))
            wanted = -(-frames * percent // 100)
            if len(clip) > wanted:
                start = int(rng.integers(len(clip) - wanted + 1))
                part = clip[start : start + wanted]
            else:
                part = clip
            if float(np.square(part).mean()) <= SILENT**2 * float(np.square(clip).mean()):
                continue
            part = part if percent == 100 else resample_poly(part, 100, percent, window=_taps(percent))
            part = part[:frames].astype(np.float32)
            window = np.zeros(frames, np.float32)
            start = int(rng.integers(frames - len(part) + 1))
            window[start : start + len(part)] = part
            return window
        raise UserError(
            f"--data: {TRIES} windows drawn one after the other are silent; the speech files hold no speech."
        )


@lru_cache
def _taps(percent: int) -> NDArray[np.float64]:
    """resample_poly's own filter for 100 / percent: designing it takes longer than filtering a second with it."""
    common = int(np.gcd(100, percent))
    largest = max(100, percent) // common
    return firwin(20 * largest + 1, 1 / largest, window=("kaiser", 5.0))
