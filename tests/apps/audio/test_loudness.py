"""The standard's own numbers, and what a level must not depend on."""

import numpy as np
import pytest

from apps.audio.loudness import _weights, loudness, power


def tone(rate, seconds=2.0, frequency=997.0):
    return np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate).astype(np.float32)


def test_filters_of_the_standard():
    """BS.1770-4, tables 1 and 2, at 48 kHz."""
    (shelf, back), (high, pole) = _weights(48000)
    np.testing.assert_allclose(shelf, [1.53512485958697, -2.69169618940638, 1.19839281085285], atol=1e-9)
    np.testing.assert_allclose(back, [1, -1.69065929318241, 0.73248077421585], atol=1e-9)
    np.testing.assert_allclose(high, [1, -2, 1])
    np.testing.assert_allclose(pole, [1, -1.99004745483398, 0.99007225036621], atol=1e-9)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_a_tone_at_full_scale_reads_minus_3_01(rate):
    """At 997 Hz, by the standard; the shelf bends a little where half the rate is near."""
    assert loudness(tone(rate), rate) == pytest.approx(-3.01, abs=0.02 if rate > 16000 else 0.15)
    assert power(tone(rate), rate) == pytest.approx(-3.01, abs=0.01)


def test_pauses_do_not_count():
    speech = tone(8000, 6.0)
    paused = np.concatenate([speech, np.zeros(48000, np.float32)])
    assert loudness(paused, 8000) == pytest.approx(loudness(speech, 8000), abs=0.15)
    assert power(paused, 8000) == pytest.approx(power(speech, 8000) - 3.01, abs=0.01)


def test_levels_of_little_and_of_nothing():
    assert power(np.zeros(10, np.float32), 8000) == -120 and loudness(np.zeros(8000, np.float32), 8000) < -119
    assert loudness(1e-5 * tone(8000), 8000) == pytest.approx(loudness(tone(8000), 8000) - 100, abs=0.1)
    assert loudness(0.1 * tone(8000, 0.2), 8000) == pytest.approx(-23, abs=0.3)
    assert np.isfinite(loudness(np.ones(1, np.float32), 8000))
