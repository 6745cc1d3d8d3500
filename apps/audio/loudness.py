"""How loud a clip is, in dB relative to full scale: by its power, or by the standard for programme loudness.

ITU-R BS.1770-4 weights frequencies as the head and the ear do (two biquads), takes the power of blocks of 400 ms every
100 ms, and averages those above -70 LUFS and above the average of these less 10: pauses do not count. LibriMix draws
loudness by this measure. The biquads are the standard's, made for any rate by the bilinear transform of the analogue
filters that its numbers at 48 kHz come from (Mansbridge et al. 2012); they reproduce those numbers to 1e-9.
"""

__all__ = ["loudness", "power"]

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

SILENCE = -120.0


def power(samples: NDArray[np.float32], sample_rate: int) -> float:
    """RMS level in dB of (T,), -120 at least."""
    return _db(float(np.mean(np.square(samples, dtype=np.float64))))


def loudness(samples: NDArray[np.float32], sample_rate: int) -> float:
    """Integrated loudness in LUFS of one channel (T,); without gates if it is shorter than 400 ms, without
    that at -70 LUFS if nothing is louder; -120 at least."""
    weighted = samples.astype(np.float64)
    for numerator, denominator in _weights(sample_rate):
        weighted = lfilter(numerator, denominator, weighted)
    squares = weighted**2
    step = round(0.1 * sample_rate)
    if len(squares) < 4 * step:
        return -0.691 + _db(float(squares.mean()))
    tenths = np.add.reduceat(squares, np.arange(0, len(squares), step))[: len(squares) // step] / step
    blocks = (tenths[:-3] + tenths[1:-2] + tenths[2:-1] + tenths[3:]) / 4
    loud = blocks[blocks > 10 ** ((-70 + 0.691) / 10)]
    # A recording below the gate as a whole still has a level.
    loud = loud if len(loud) else blocks
    loud = loud[loud >= loud.mean() / 10]
    return -0.691 + _db(float(loud.mean()))


def _db(mean_square: float) -> float:
    return 10 * np.log10(max(mean_square, 10 ** (SILENCE / 10)))


@lru_cache
def _weights(rate: int) -> tuple[tuple[list[float], list[float]], ...]:
    """The high shelf of the head and the high-pass of the ear, (numerator, denominator) each."""
    gain, k, q = 10 ** (3.999843853973347 / 20), np.tan(np.pi * 1681.974450955533 / rate), 0.7071752369554196
    middle = gain**0.4996667741545416
    a0 = 1 + k / q + k * k
    shelf = (
        [(gain + middle * k / q + k * k) / a0, 2 * (k * k - gain) / a0, (gain - middle * k / q + k * k) / a0],
        [1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0],
    )
    k, q = np.tan(np.pi * 38.13547087602444 / rate), 0.5003270373238773
    a0 = 1 + k / q + k * k
    return shelf, ([1.0, -2.0, 1.0], [1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0])
