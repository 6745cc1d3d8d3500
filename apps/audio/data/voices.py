"""Voice-like sources from numbers alone: glottal pulses through moving formants, consonants of noise, pauses.

A speaker has a pitch (80 to 260 Hz, with its melody), a length of the vocal tract (scales all formants), a tempo, a
brightness of the glottal pulse and a breathiness, all drawn from (seed, number). An utterance is a row of syllables in
phrases with pauses between them, drawn from (seed, number, index): a consonant of filtered noise or none, then a vowel
that glides from the formants before it to its own (averages of American men, Peterson & Barney 1952, F4 added).

The voiced part is the sum of the harmonics below 0.47 of the rate,

    x(t) = Re sum_k k^-tilt H(k f0(t), t) exp(i k phase(t)),     H = prod_j 1 / (1 - (f / F_j)^2 + i f B_j / F_j^2)

which is a pulse train through the four resonators F_j of width B_j that may move: H is computed every 8 ms and
interpolated, the powers of exp(i phase) come from one another. 5 s at 8 kHz take about 25 ms on one thread.

Two voices differ in what separation networks listen for: pitch tracks, formants and onsets. Real voices are richer; a
network trained on these does not separate people.
"""

__all__ = ["voice"]

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from core.training.draws import generator

VOWELS = np.array(
    [
        (270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480), (660, 1720, 2410), (730, 1090, 2440),
        (570, 840, 2410), (440, 1020, 2240), (300, 870, 2240), (640, 1190, 2390), (490, 1350, 1690),
    ]
)  # fmt: skip
F4 = 3500.0
WIDTHS = np.array([60.0, 90.0, 150.0, 220.0])
STEP = 0.008
HIGHEST = 0.47
LEVEL = 0.06


class Speaker:
    """What does not change between the utterances of one voice."""

    def __init__(self, seed: int, number: int):
        # Speakers count from 2^40 up, utterances of a speaker from (number + 1) 2^20: no key is used twice.
        rng = generator(seed, 2**40 + number)
        self.pitch = 80 * (260 / 80) ** rng.random()
        # Small speakers are higher, but not always.
        self.tract = 1.0 + 0.22 * (np.log(self.pitch / 144) / np.log(1.8)) + rng.normal(0, 0.05)
        self.tempo = rng.uniform(2.8, 5.5)
        self.melody = rng.uniform(0.06, 0.2)
        self.tilt = rng.uniform(0.7, 1.5)
        self.breath = rng.uniform(0.01, 0.06)
        self.accent = rng.normal(0, 0.04, (len(VOWELS), 3))


def voice(seed: int, number: int, index: int, frames: int, sample_rate: int) -> NDArray[np.float32]:
    """One utterance (frames,), RMS 0.06, a function of its arguments alone.

    Args:
        seed: of the speakers.
        number: of the speaker.
        index: of the utterance.
        frames: how long.
        sample_rate: samples a second.
    """
    speaker, rng = Speaker(seed, number), generator(seed, (number + 1) * 2**20 + index)
    seconds = frames / sample_rate
    points = np.arange(0, seconds + 2 * STEP, STEP)
    formants, loud, pitch = np.empty((len(points), 4)), np.zeros(len(points)), np.zeros(len(points))
    bursts = np.zeros(frames)
    at, now = 0.0, _vowel(speaker, rng)
    formants[:] = now
    while at < seconds:
        phrase = rng.uniform(0.8, 2.4)
        begin, end = at, at + phrase
        while at < end:
            long = rng.uniform(0.7, 1.4) / speaker.tempo
            hiss = min(rng.uniform(0.04, 0.12), 0.4 * long) if rng.random() < 0.6 else 0.0
            target, rest = _vowel(speaker, rng), (points >= at) & (points < at + long)
            way = (points[rest] - at) / long
            formants[rest] = now + (target - now) * np.clip(1.8 * way, 0, 1)[:, None]
            # A vowel swells after its consonant and fades before the next.
            loud[rest] = np.sin(np.pi * np.clip((way * long - hiss) / (long - hiss), 0, 1)) ** 0.6 * rng.uniform(0.5, 1)
            fall = 1.08 - 0.2 * (at - begin) / phrase
            bend = rng.normal(0, speaker.melody) * np.sin(np.pi * way)
            pitch[rest] = speaker.pitch * fall * np.exp(bend)
            if hiss:
                _burst(bursts, rng, at, hiss, sample_rate)
            at, now = at + long, target
        formants[points >= at] = now
        at += rng.uniform(0.1, 0.5)
    pitch[pitch == 0] = speaker.pitch
    voiced = _harmonics(speaker, rng, points, formants, loud, pitch, frames, sample_rate)
    wave = voiced + 0.35 * bursts + 0.002 * rng.standard_normal(frames)
    return (wave * (LEVEL / np.sqrt(np.mean(wave**2)))).astype(np.float32)


def _vowel(speaker: Speaker, rng: np.random.Generator) -> NDArray[np.float64]:
    which = int(rng.integers(len(VOWELS)))
    three = VOWELS[which] * (1 + speaker.accent[which]) * (1 + rng.normal(0, 0.02, 3))
    return np.append(three, F4) * speaker.tract


def _harmonics(
    speaker: Speaker,
    rng: np.random.Generator,
    points: NDArray[np.float64],
    formants: NDArray[np.float64],
    loud: NDArray[np.float64],
    pitch: NDArray[np.float64],
    frames: int,
    rate: int,
) -> NDArray[np.float64]:
    """The voiced part, of deviation 1."""
    time = np.arange(frames) / rate
    # Small irregularities keep the pulses from being perfectly periodic.
    wobble = np.interp(time, points, 0.006 * rng.standard_normal(len(points)))
    f0 = np.interp(time, points, _smooth(pitch)) * (1 + wobble)
    turn = np.exp(2j * np.pi * (np.cumsum(f0) / rate + rng.random()))
    turn = turn.astype(np.complex64)
    loud = _smooth(loud)
    slow, centre, width = _smooth(pitch), formants.T, WIDTHS[:, None] * speaker.tract
    total, power = np.zeros(frames, np.float32), np.ones_like(turn)
    for k in range(1, int(HIGHEST * rate / pitch.min()) + 1):
        power = power * turn
        f = k * slow
        response = np.prod(1 / (1 - (f / centre) ** 2 + 1j * f * width / centre**2), 0)
        # No harmonic passes half the rate: the highest fade out.
        gain = loud * response * k**-speaker.tilt * np.clip((HIGHEST * rate - f) / (0.05 * rate), 0, 1)
        total += np.interp(time, points, gain.real).astype(np.float32) * power.real
        total -= np.interp(time, points, gain.imag).astype(np.float32) * power.imag
    breath = np.diff(rng.standard_normal(frames + 1)) * np.interp(time, points, loud)
    total = total / max(float(total.std()), 1e-9) + speaker.breath * breath
    return total


def _burst(out: NDArray[np.float64], rng: np.random.Generator, at: float, long: float, rate: int) -> None:
    """Adds a consonant of noise around one frequency."""
    start, count = int(at * rate), int(long * rate)
    count = min(count, len(out) - start)
    if count < 4:
        return
    centre, radius = rng.uniform(0.2, 0.45), rng.uniform(0.6, 0.9)
    noise = lfilter([1, -1], [1, -2 * radius * np.cos(2 * np.pi * centre), radius**2], rng.standard_normal(count))
    out[start : start + count] += noise / noise.std() * np.hanning(count) * rng.uniform(0.4, 1.2)


def _smooth(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over 5 points: nothing in a voice jumps."""
    return np.convolve(np.pad(x, 2, mode="edge"), np.full(5, 0.2), mode="valid")
