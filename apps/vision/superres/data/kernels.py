"""Blur kernels of real-world degradation (BSRGAN, Real-ESRGAN): bell shapes of several kinds, and the sinc filter.

With the offset g of a tap from the centre and the quadratic form q = g^T S^-1 g, S of deviations s1, s2 turned by an
angle (s1 = s2: isotropic):

    gaussian     exp(-q / 2)
    generalised  exp(-q^beta / 2)       beta < 1 sharper in the middle with longer tails, > 1 flatter
    plateau      1 / (1 + q^beta)       a flat top
    sinc         w J1(w r) / (2 pi r)   the ideal low-pass filter of cut-off w, which rings as sharpening and JPEG do

each divided by its sum.
"""

__all__ = ["BlurKernels", "gaussian", "generalised", "plateau", "sinc"]

import numpy as np
from numpy.typing import NDArray
from scipy.special import j1

Kernel = NDArray[np.float32]


def _form(taps: int, sigma: tuple[float, float], angle: float) -> NDArray[np.float64]:
    """q of every tap."""
    line = np.arange(taps) - taps // 2
    x, y = np.meshgrid(line, line)
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    return (along / sigma[0]) ** 2 + (across / sigma[1]) ** 2


def _normal(kernel: NDArray[np.float64]) -> Kernel:
    return (kernel / kernel.sum()).astype(np.float32)


def gaussian(taps: int, sigma: tuple[float, float], angle: float = 0.0) -> Kernel:
    """(taps, taps), taps odd; deviations in pixels, angle in radians."""
    return _normal(np.exp(-0.5 * _form(taps, sigma, angle)))


def generalised(taps: int, sigma: tuple[float, float], angle: float, beta: float) -> Kernel:
    """As `gaussian`, q raised to beta."""
    return _normal(np.exp(-0.5 * _form(taps, sigma, angle) ** beta))


def plateau(taps: int, sigma: tuple[float, float], angle: float, beta: float) -> Kernel:
    """As `gaussian`, with a flat top."""
    return _normal(1 / (1 + _form(taps, sigma, angle) ** beta))


def sinc(taps: int, cutoff: float) -> Kernel:
    """Low pass below `cutoff` in (0, pi] radians a pixel."""
    line = np.arange(taps) - taps // 2
    r = np.hypot(line[:, None], line[None])
    kernel = np.full((taps, taps), cutoff**2 / (4 * np.pi))
    away = r > 0
    kernel[away] = cutoff * j1(cutoff * r[away]) / (2 * np.pi * r[away])
    return _normal(kernel)


class BlurKernels:
    """Draws kernels: `BlurKernels(...)(rng)`, (taps, taps) with taps odd in 7..21.

    Half of the exponents beta are drawn below 1 and half above, as in the release; for the plateau, whose range begins
    at 1, half of them are 1.

    Args:
        sigma: range of the deviations.
        generalised: range of beta.
        plateau: range of beta.
        sinc: share of sinc filters.
        shares: of isotropic and anisotropic gaussian, of isotropic and anisotropic generalised, of isotropic and
            anisotropic plateau kernels.
    """

    def __init__(
        self,
        sigma: tuple[float, float] = (0.2, 3.0),
        generalised: tuple[float, float] = (0.5, 4.0),
        plateau: tuple[float, float] = (1.0, 2.0),
        sinc: float = 0.1,
        shares: tuple[float, float, float, float, float, float] = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03),
    ):
        if not 0 < sigma[0] <= sigma[1]:
            raise ValueError(f"BlurKernels: sigma {sigma} must be a range of positive numbers.")
        self.sigma, self.generalised, self.plateau, self.sinc = sigma, generalised, plateau, sinc
        self.shares = np.array(shares) / sum(shares)

    def __call__(self, rng: np.random.Generator) -> Kernel:
        taps = 2 * int(rng.integers(3, 11)) + 1
        if rng.random() < self.sinc:
            return sinc(taps, rng.uniform(np.pi / (3 if taps < 13 else 5), np.pi))
        kind = int(rng.choice(6, p=self.shares))
        wide = rng.uniform(*self.sigma)
        if kind % 2:
            deviations, angle = (wide, rng.uniform(*self.sigma)), rng.uniform(-np.pi, np.pi)
        else:
            deviations, angle = (wide, wide), 0.0
        if kind < 2:
            return gaussian(taps, deviations, angle)
        low, high = self.generalised if kind < 4 else self.plateau
        beta = rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high)
        return (generalised if kind < 4 else plateau)(taps, deviations, angle, beta)
