"""Pictures and sounds of separated mixtures for the report: spectrograms, players, where it fails."""

__all__ = ["Example", "sections"]

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.training.report import COLOURS, Figure, Section, figure

Wave = NDArray[np.float32]

# Seconds of a clip in the report: at 8 kHz and 16 bit, five clips of three mixtures are below 2 MB.
CLIP = 5.0
FRAME = 256


@dataclass
class Example:
    """One test mixture with what was made of it.

    Args:
        name: of the mixture.
        rate: samples a second.
        mixture: (T,).
        references, estimates: (S, T), estimates in the order of the references.
        improvement: SI-SDR improvement in dB, mean over the speakers.
        before: SI-SDR of the mixture itself, mean over the speakers.
    """

    name: str
    rate: int
    mixture: Wave
    references: Wave
    estimates: Wave
    improvement: float
    before: float


def sections(made: list[Example]) -> list[Section]:
    """The report's middle: best, typical and worst mixture to look at and to listen to, and where it fails."""
    finite = [each for each in made if np.isfinite(each.improvement)]
    ranked = sorted(finite, key=lambda each: -each.improvement)
    if not ranked:
        return []
    places = {"best": 0, "typical": len(ranked) // 2, "worst": len(ranked) - 1}
    out = []
    for title, place in places.items():
        if [*places.values()].index(place) == [*places].index(title):
            out.append(_example(title, ranked[place]))
    if len(ranked) > 2:
        out.append(Section("Where it fails", [_gains(ranked), _overlap(ranked)]))
    return out


def _example(title: str, one: Example) -> Section:
    speakers = len(one.references)
    waves = {"mixture": one.mixture}
    waves |= {f"speaker {n + 1}, separated": one.estimates[n] for n in range(speakers)}
    waves |= {f"speaker {n + 1}, reference": one.references[n] for n in range(speakers)}
    figures = [spectrograms(one, waves)]
    figures += [player(name, wave, one.rate) for name, wave in waves.items()]
    text = f"{one.name}: {one.improvement:.2f} dB above the mixture, which stands at {one.before:.2f} dB."
    return Section(f"The {title} mixture", figures, text=text)


def spectrograms(one: Example, waves: dict[str, Wave]) -> Figure:
    """Power of all waves over time and frequency, one scale for all."""
    length = int(CLIP * one.rate)
    powers = {name: _power(wave[:length]) for name, wave in waves.items()}
    top = max(float(power.max()) for power in powers.values())
    text = f"Spectrograms of {', '.join(waves)}, first {min(CLIP, len(one.mixture) / one.rate):.1f} s"
    size = (6.4, 1.1 * len(waves))
    with figure(text, "Power in dB, 60 dB from white to dark; 0 to half the sample rate.", size=size) as (axis, made):
        stack = np.concatenate([np.clip(power - top + 60, 0, 60) for power in reversed(powers.values())])
        seconds = min(length, len(one.mixture)) / one.rate
        axis.imshow(stack, origin="lower", aspect="auto", cmap="Blues", extent=(0, seconds, 0, len(waves)))
        axis.set_yticks(np.arange(len(waves)) + 0.5, [*reversed(waves)])
        axis.hlines(np.arange(1, len(waves)), 0, seconds, color="#999999", lw=0.8)
        axis.set_xlabel("seconds")
    made.wide = True
    return made


def player(name: str, wave: Wave, rate: int) -> Figure:
    """A clip to listen to, 16-bit FLAC, scaled down if it would clip."""
    import soundfile

    wave = wave[: int(CLIP * rate)]
    wave = wave / max(1.0, float(np.abs(wave).max(initial=0.0)))
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format="FLAC", subtype="PCM_16")
    source = "data:audio/flac;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Figure(source, f"Play {name}", name)


def _power(wave: Wave) -> NDArray[np.float64]:
    """(frequencies, frames) in dB of Hann windows of FRAME samples, half overlapping."""
    wave = np.pad(wave, (0, max(0, FRAME - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(wave, FRAME)[:: FRAME // 2]
    power = np.abs(np.fft.rfft(frames * np.hanning(FRAME), axis=1)) ** 2
    return 10 * np.log10(power.T + 1e-10)


def _gains(made: list[Example]) -> Figure:
    before, gain = [each.before for each in made], [each.improvement for each in made]
    text = f"Improvement of {len(made)} mixtures, {min(gain):.1f} to {max(gain):.1f} dB"
    with figure(text, "Improvement against the SI-SDR of the mixture.", size=(5.2, 2.7)) as (axis, drawn):
        axis.scatter(before, gain, s=18, color=COLOURS[0])
        axis.axhline(0, color="#999999", lw=0.8)
        axis.set_xlabel("SI-SDR of the mixture in dB")
        axis.set_ylabel("improvement in dB")
    return drawn


def overlap(references: Wave, rate: int) -> float:
    """Share of the time in which at least two speakers are within 30 dB of their own loudest 25 ms."""
    frame = max(1, rate // 40)
    whole = references.shape[1] // frame * frame
    if not whole:
        return 0.0
    power = np.square(references[:, :whole]).reshape(len(references), -1, frame).mean(2)
    active = power > 1e-3 * power.max(1, keepdims=True)
    return float((active.sum(0) > 1).mean())


def _overlap(made: list[Example]) -> Figure:
    share = [100 * overlap(each.references, each.rate) for each in made]
    gain = [each.improvement for each in made]
    text = f"Improvement against overlap of the speakers, {min(share):.0f} to {max(share):.0f} % of the time"
    with figure(text, "Improvement against how long the speakers overlap.", size=(5.2, 2.7)) as (axis, drawn):
        axis.scatter(share, gain, s=18, color=COLOURS[0])
        axis.set_xlabel("overlap in % of the time")
        axis.set_ylabel("improvement in dB")
    return drawn
