"""Small images as they come from phones and the web: blurred, resized, noisy, compressed, more than once.

The second-order model of Real-ESRGAN, with which the GAN versions of HAT and SwinIR are trained: the sharpened original
passes two rounds of blur, random resize, noise and JPEG; in the second the resize to the final size with a sinc filter
comes before or after JPEG. The first-order model, the usual baseline, is one round.

Every draw comes from the generator that the caller passes, which `Crops` makes from (seed, index): the same degraded
patches whatever the number of workers.

Decided differently: on single patches with OpenCV and Pillow instead of on a batch with a differentiable JPEG, so no
pool of 180 images is needed to mix degradations in a batch, every patch having its own; enlarging by "area" is
OpenCV's (linear), not a repetition of pixels.
"""

__all__ = ["Compressed", "Degradation", "FirstOrder", "Noisy", "Round", "SecondOrder", "sharpen"]

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .kernels import BlurKernels, sinc
from .pairs import shrink

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
RESIZES = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


class Degradation:
    """Base class: `degradation(original (H, W, 3) uint8, scale, rng)` -> (small, target), both uint8.

    The target is what the small image should become, usually the original. `margin` low-resolution pixels around a
    patch are degraded with it and then cut off.
    """

    margin = 0

    def __call__(self, original: Pixels, scale: int, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        raise TypeError(f"{type(self).__name__} must define __call__")


class Noisy(Degradation):
    """Bicubic and then Gaussian noise, rounded to 8 bit; for denoising at scale 1.

    Args:
        sigma: deviation of the noise in levels of 255.
    """

    def __init__(self, sigma: float = 25.0):
        self.sigma = sigma

    def __call__(self, original: Pixels, scale: int, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        small = shrink(original, scale).astype(np.float32)
        return _pixels((small + rng.normal(0, self.sigma, small.shape)) / 255), original


class Compressed(Degradation):
    """Bicubic and then JPEG; for removing its traces at scale 1.

    Args:
        quality: of Pillow's encoder, 1 to 100.
    """

    margin = 8

    def __init__(self, quality: int = 40):
        self.quality = quality

    def __call__(self, original: Pixels, scale: int, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        return _jpeg_pixels(shrink(original, scale), self.quality), original


class Round:
    """One round: blur, random resize, noise, JPEG. Numbers are the first round of the release.

    Args:
        kernels: draws the blur.
        blur: share of images that are blurred.
        resize: shares of enlarging, shrinking and keeping.
        factor: smallest and largest factor of the resize, below and above 1.
        gaussian: share of Gaussian noise, the rest is Poisson noise.
        sigma: range of the Gaussian deviation in levels of 255.
        poisson: range of the strength of Poisson noise.
        gray: share of noise that is the same in all channels.
        quality: range of the JPEG quality.
    """

    def __init__(
        self,
        kernels: BlurKernels | None = None,
        blur: float = 1.0,
        resize: tuple[float, float, float] = (0.2, 0.7, 0.1),
        factor: tuple[float, float] = (0.15, 1.5),
        gaussian: float = 0.5,
        sigma: tuple[float, float] = (1.0, 30.0),
        poisson: tuple[float, float] = (0.05, 3.0),
        gray: float = 0.4,
        quality: tuple[float, float] = (30.0, 95.0),
    ):
        if not 0 < factor[0] <= 1 <= factor[1]:
            raise ValueError(f"Round: factor {factor} must go from below 1 to above 1.")
        self.kernels = kernels or BlurKernels()
        self.blur, self.resize, self.factor = blur, np.array(resize) / sum(resize), factor
        self.gaussian, self.sigma, self.poisson, self.gray, self.quality = gaussian, sigma, poisson, gray, quality

    def before_jpeg(self, image: Floats, size: tuple[int, int], rng: np.random.Generator) -> Floats:
        """Blur, a resize to a random multiple of `size` (h, w), and noise; in [0, 1]."""
        if rng.random() < self.blur:
            image = filtered(image, self.kernels(rng))
        way = int(rng.choice(3, p=self.resize))
        factor = rng.uniform(1, self.factor[1]) if way == 0 else rng.uniform(self.factor[0], 1) if way == 1 else 1.0
        image = resized(image, (round(size[0] * factor), round(size[1] * factor)), rng)
        gray = rng.random() < self.gray
        if rng.random() < self.gaussian:
            image = image + _gaussian_noise(image, rng.uniform(*self.sigma) / 255, gray, rng)
        else:
            image = image + rng.uniform(*self.poisson) * _poisson_noise(image, gray, rng)
        return image.clip(0, 1).astype(np.float32)

    def jpeg(self, image: Floats, rng: np.random.Generator) -> Floats:
        """There and back through JPEG."""
        quality = int(rng.uniform(*self.quality))
        return _jpeg_pixels(_pixels(image), quality).astype(np.float32) / 255


class FirstOrder(Degradation):
    """One round, then the final size.

    Args:
        once: the round.
    """

    margin = 16

    def __init__(self, once: Round | None = None):
        self.once = once or Round()

    def __call__(self, original: Pixels, scale: int, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        height, width = original.shape[:2]
        image = self.once.before_jpeg(original.astype(np.float32) / 255, (height, width), rng)
        image = self.once.jpeg(image, rng)
        return _pixels(resized(image, (height // scale, width // scale), rng)), original


class SecondOrder(Degradation):
    """Two rounds and a last sinc filter, from the sharpened original, which is also the target.

    Args:
        first: the first round.
        second: the second; its factors are of the final size.
        last_sinc: share of images with a sinc filter at the end.
        sharpened: whether the target, and what is degraded, is the sharpened original.
    """

    margin = 16

    def __init__(
        self,
        first: Round | None = None,
        second: Round | None = None,
        last_sinc: float = 0.8,
        sharpened: bool = True,
    ):
        self.first = first or Round()
        self.second = second or Round(
            BlurKernels(sigma=(0.2, 1.5)),
            blur=0.8,
            resize=(0.3, 0.4, 0.3),
            factor=(0.3, 1.2),
            sigma=(1.0, 25.0),
            poisson=(0.05, 2.5),
        )
        self.last_sinc, self.sharpened = last_sinc, sharpened

    def __call__(self, original: Pixels, scale: int, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        target = sharpen(original) if self.sharpened else original
        height, width = original.shape[:2]
        size = height // scale, width // scale
        image = self.first.before_jpeg(target.astype(np.float32) / 255, (height, width), rng)
        image = self.first.jpeg(image, rng)
        image = self.second.before_jpeg(image, size, rng)
        ringing = rng.random() < self.last_sinc
        last = sinc(2 * int(rng.integers(3, 11)) + 1, rng.uniform(np.pi / 3, np.pi))
        # Half of the images are compressed at their last size, half before.
        late = rng.random() < 0.5
        if not late:
            image = self.second.jpeg(image, rng)
        image = resized(image, size, rng)
        if ringing:
            image = filtered(image, last).clip(0, 1)
        if late:
            image = self.second.jpeg(image, rng)
        return _pixels(image), target


def sharpen(image: Pixels) -> Pixels:
    """Unsharp masking of (H, W, 3): half of what a Gaussian of deviation 8 takes away is added where that is more than
    10 levels, with soft transitions."""

    def blurred(x: Floats) -> Floats:
        return cv2.GaussianBlur(x, (51, 51), 8.0, borderType=cv2.BORDER_REFLECT_101)

    x = image.astype(np.float32)
    rest = x - blurred(x)
    share = blurred((np.abs(rest) > 10).astype(np.float32))
    sharp = (x + 0.5 * rest).clip(0, 255)
    return np.floor(share * sharp + (1 - share) * x + 0.5).clip(0, 255).astype(np.uint8)


def filtered(image: Floats, kernel: Floats) -> Floats:
    """Correlation of every channel, borders mirrored without the edge."""
    return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)


def resized(image: Floats, size: tuple[int, int], rng: np.random.Generator) -> Floats:
    """To (h, w), at least 1 by 1, by area, linear or cubic interpolation (without antialiasing), drawn."""
    way = RESIZES[int(rng.integers(3))]
    height, width = max(1, size[0]), max(1, size[1])
    return cv2.resize(image, (width, height), interpolation=way).clip(0, 1)


def _gaussian_noise(image: Floats, sigma: float, gray: bool, rng: np.random.Generator) -> Floats:
    shape = (*image.shape[:2], 1) if gray else image.shape
    return np.float32(sigma) * rng.standard_normal(shape, dtype=np.float32)


def _poisson_noise(image: Floats, gray: bool, rng: np.random.Generator) -> Floats:
    """Shot noise of an 8-bit image, as many photons for white as it has different values (a power of two)."""
    levels = _pixels(image)
    if gray:
        levels = cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY)[..., None]
    mean = levels.astype(np.float32) / 255
    photons = 2.0 ** np.ceil(np.log2(max(2, np.count_nonzero(np.bincount(levels.ravel())))))
    return (rng.poisson(mean * photons) / photons - mean).astype(np.float32)


def _pixels(image: NDArray[np.floating]) -> Pixels:
    return np.floor(image * 255 + 0.5).clip(0, 255).astype(np.uint8)


def _jpeg_pixels(pixels: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))
