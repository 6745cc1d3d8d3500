"""Mixtures: the levels, speeds and rooms asked for, each draw a function of (seed, index) alone."""

import numpy as np
import pytest

from apps.audio.data.items import Clip
from apps.audio.data.speech import Store, Voices
from apps.audio.data.waves import write_wave
from apps.audio.loudness import loudness, power
from apps.audio.mixing import ColouredNoise, Mixing, NoiseFiles, Room
from core.errors import UserError
from core.training.draws import generator


class Wave(Clip):
    """A clip in memory."""

    def __init__(self, speaker, samples):
        self.speaker, self.samples, self.seconds = speaker, np.asarray(samples, np.float32), len(samples) / 8000

    def load(self, sample_rate):
        return self.samples


@pytest.fixture(scope="module")
def store():
    return Store(Voices(5, 2, 1.5).clips(), 8000)


def db(x):
    return 10 * np.log10(np.mean(np.square(x, dtype=np.float64)))


@pytest.mark.parametrize("speakers", [1, 2, 3])
def test_a_mixture_is_the_sum_of_its_references(store, speakers):
    mixture, targets = Mixing(speakers).draw(store, 8000, 1, 2)
    assert mixture.shape == (8000,) and targets.shape == (speakers, 8000)
    assert mixture.dtype == targets.dtype == np.float32
    np.testing.assert_allclose(mixture, targets.sum(0), atol=1e-6)


def test_draws_depend_on_seed_and_index_alone(store):
    mixing = Mixing(room=Room(), noise=ColouredNoise())
    first = mixing.draw(store, 4000, 1, 2)
    other = Store(store.clips, 8000, 0.01)
    for index in (9, 4):
        mixing.draw(other, 4000, 1, index)
    again = Mixing(room=Room(), noise=ColouredNoise()).draw(other, 4000, 1, 2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    for seed, index in ((1, 3), (2, 2)):
        assert not np.array_equal(mixing.draw(store, 4000, seed, index).mixture, first.mixture)


@pytest.mark.parametrize("level", [loudness, power])
def test_levels(store, level):
    levels = np.array(
        [
            [level(t, 8000) for t in Mixing(level=level, levels=(-40, -30)).draw(store, 8000, 0, n).targets]
            for n in range(40)
        ]
    )
    assert levels.min() >= -40.01 and levels.max() <= -29.99 and levels.min() < -39 and levels.max() > -31
    assert abs(levels[:, 0] - levels[:, 1]).mean() > 1.5


def test_one_factor_keeps_the_peak(store):
    mixing = Mixing(levels=(-6, 0), level=power)
    for n in range(5):
        mixture, targets = mixing.draw(store, 8000, 0, n)
        assert max(abs(mixture).max(), abs(targets).max()) == pytest.approx(0.9, abs=1e-6)
        np.testing.assert_allclose(mixture, targets.sum(0), atol=1e-6)


def test_speakers_differ_and_come_in_proportion_to_their_utterances():
    rng = np.random.default_rng(0)
    clips = [
        Wave(str(s), np.full(100, s + 1) * (1 + 0.01 * rng.random(100)))
        for s, n in enumerate([1, 1, 6])
        for _ in range(n)
    ]
    mixing, store = Mixing(1, (0, 0), power, (1, 1), peak=9), Store(clips, 8000)
    # Levels away, the value is the speaker's number.
    drawn = [int(np.median(mixing.voices(store, 50, generator(0, n))[0])) for n in range(400)]
    np.testing.assert_allclose(np.bincount(drawn)[1:] / 400, [1 / 8, 1 / 8, 6 / 8], atol=0.06)
    pairs = [[int(np.median(v)) for v in Mixing(2, speed=(1, 1)).voices(store, 50, generator(0, n))] for n in range(50)]
    assert all(a != b for a, b in pairs)
    with pytest.raises(UserError, match="4 speakers cannot be drawn from 3"):
        Mixing(4).draw(store, 50, 0, 0)


def test_speed_moves_the_pitch():
    tone = np.sin(2 * np.pi * 500 * np.arange(40000) / 8000)
    mixing, store = Mixing(1, speed=(0.9, 1.1)), Store([Wave("a", tone), Wave("b", tone)], 8000)
    found = set()
    for n in range(60):
        (window,) = mixing.voices(store, 8000, generator(0, n))
        assert len(window) == 8000
        found.add(int(np.argmax(abs(np.fft.rfft(window * np.hanning(8000))))))
    assert min(found) == 450 and max(found) == 550 and len(found) > 15
    assert all(abs(f / 5 - round(f / 5)) < 1e-9 for f in found)


def test_silent_windows_are_drawn_again():
    half = np.zeros(80000)
    half[70000:] = np.random.default_rng(0).standard_normal(10000)
    mixing, store = Mixing(1), Store([Wave("a", half), Wave("b", half)], 8000)
    assert all(power(mixing.voices(store, 4000, generator(0, n))[0], 8000) > -40 for n in range(30))
    silent = Store([Wave("a", np.zeros(9000)), Wave("b", np.zeros(9000))], 8000)
    with pytest.raises(UserError, match="200 windows drawn one after the other are silent"):
        mixing.draw(silent, 4000, 0, 0)


def test_a_short_utterance_lies_somewhere_in_its_window():
    store = Store([Wave("a", np.ones(100)), Wave("b", np.ones(100))], 8000)
    starts = set()
    for n in range(20):
        (window,) = Mixing(1, speed=(1, 1)).voices(store, 1000, generator(0, n))
        assert window.sum() == 100 and (np.diff(np.flatnonzero(window)) == 1).all()
        starts.add(int(np.argmax(window)))
    assert len(starts) > 10
    assert Mixing(2).draw(store, 1, 0, 0).targets.shape == (2, 1)


def test_noise_is_in_the_mixture_alone(store):
    mixing = Mixing(noise=ColouredNoise(), noise_levels=(-50, -50), level=power)
    mixture, targets = mixing.draw(store, 8000, 0, 1)
    assert db(mixture - targets.sum(0)) == pytest.approx(-50, abs=0.1)
    plain = Mixing(level=power).draw(store, 8000, 0, 1)
    np.testing.assert_array_equal(targets, plain.targets)


def test_noise_of_files(tmp_path):
    rng = np.random.default_rng(0)
    for n in range(3):
        write_wave(
            tmp_path / f"{n}.wav", (n + 1) / 10 * np.sign(rng.standard_normal(500)).astype(np.float32), 8000, "FLOAT"
        )
    noise = NoiseFiles(str(tmp_path))
    seen = {round(float(abs(noise.draw(np.random.default_rng(n), 1200, 8000)).max()), 3) for n in range(20)}
    assert seen == {0.1, 0.2, 0.3} and noise.draw(rng, 100, 16000).shape == (100,)
    with pytest.raises(UserError, match="is not a folder"):
        NoiseFiles(str(tmp_path / "none"))


def test_reverberation_follows_the_direct_sound(store):
    """The reference is the direct sound; what is added dies away at the rate asked for and is as loud as asked for."""
    room = Room(decay=(0.3, 0.3), direct=(6, 6))
    for response in room.responses(generator(0, 0), 2, 8000):
        assert response[0] == 0 and 10 * np.log10((response**2).sum()) == pytest.approx(-6, abs=1e-3)
        energy = np.cumsum(response[::-1] ** 2)[::-1]
        fall = 10 * np.log10(energy[int(0.05 * 8000)] / energy[int(0.15 * 8000)])
        assert fall == pytest.approx(20, abs=2)
    dry, wet = Mixing(level=power).draw(store, 8000, 0, 1), Mixing(level=power, room=room).draw(store, 8000, 0, 1)
    np.testing.assert_array_equal(dry.targets, wet.targets)
    assert db(wet.mixture - dry.mixture) - db(dry.mixture) == pytest.approx(-6, abs=2)
    with pytest.raises(UserError, match="must be ranges"):
        Room(decay=(0.5, 0.2))


@pytest.mark.parametrize(
    "wrong", [{"speakers": 0}, {"peak": 0}, {"speed": (1.1, 0.9)}, {"speed": (0.1, 1)}, {"levels": (0, -5)}]
)
def test_what_cannot_be_mixed(wrong):
    with pytest.raises(UserError, match="must be"):
        Mixing(**wrong)
