"""PSNR and SSIM as super-resolution papers report them, in float64.

On the luma Y of BT.601 (studio range), with as many pixels as the scale cut from every edge:

    Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255             R, G, B in 0..255
    PSNR = 10 log10(255^2 / mean squared difference)
    SSIM = mean of (2 mu_a mu_b + C1)(2 cov + C2) / ((mu_a^2 + mu_b^2 + C1)(var_a + var_b + C2))

with local moments under an 11x11 Gaussian of deviation 1.5 where it fits whole, C1 = (0.01 255)^2, C2 = (0.03 255)^2;
of a colour image the mean over channels. The Gaussian is separable: two passes of 11 taps over four maps.

Two conventions meet in published tables, 0.01 to 0.03 dB apart: BasicSR (HAT, DRCT, RGT, DLGSANet) leaves Y as it is,
the default here; MATLAB's rgb2ycbcr on uint8 rounds it (`rounded`). A reference coded in gray (Set14's `bridge`) is
three equal channels to BasicSR, hence 1.32 dB better than on its raw values, which MATLAB scripts take: an array
(H, W) is compared raw, an array (H, W, 3) on Y.

Pixels are uint8 arrays (H, W) or (H, W, 3), or tensors (H, W) or (C, H, W) in [0, 1], which are clamped and rounded to
8 bit first, as the protocol wants.
"""

__all__ = ["Score", "average", "crop", "gray_of", "psnr", "score", "ssim", "to_uint8", "to_y"]

import math
import warnings
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from torch import Tensor

Pixels = np.ndarray | Tensor

LUMA = np.array([65.481, 128.553, 24.966])
TAPS = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
TAPS /= TAPS.sum()
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


class Score(NamedTuple):
    """Of one image or of a set."""

    psnr: float
    ssim: float


def to_uint8(x: Tensor) -> NDArray[np.uint8]:
    """(C, H, W) or (H, W) in [0, 1] to (H, W, C) or (H, W): clamped, times 255, rounded half to even.

    Raises:
        ValueError: another shape (a batch of one included), or not a number among the values.
    """
    if x.dim() not in (2, 3):
        raise ValueError(f"to_uint8: expected (H, W) or (C, H, W), got {tuple(x.shape)}; take the images one by one.")
    if not x.is_floating_point():
        if x.dtype != torch.uint8:
            raise ValueError(f"to_uint8: expected uint8 or floating values, got {x.dtype}.")
    else:
        x = x.detach().float()
        if bool(x.isnan().any()):
            raise ValueError("to_uint8: the image holds NaN; run the network in float32.")
        x = (x.clamp(0, 1) * 255).round().to(torch.uint8)
    x = x.cpu()
    return np.ascontiguousarray((x.permute(1, 2, 0) if x.dim() == 3 else x).numpy())


def to_y(image: Pixels, rounded: bool = False) -> NDArray[np.float64]:
    """Luma (H, W) of an image (H, W, 3) in 16..235; `rounded` half up as MATLAB's rgb2ycbcr on uint8."""
    pixels = _pixels(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"to_y: expected RGB (H, W, 3), got {pixels.shape}.")
    y = pixels @ (LUMA / 255) + 16
    return np.floor(y + 0.5) if rounded else y


def gray_of(image: Pixels) -> NDArray[np.uint8]:
    """What an RGB image (H, W, 3) is as a gray one, for a reference coded in gray: luma in 0..255, v for (v, v, v)."""
    gray = _pixels(image) @ (LUMA / LUMA.sum())
    return np.floor(gray + 0.5).clip(0, 255).astype(np.uint8)


def crop(image: np.ndarray, border: int) -> np.ndarray:
    """(H, W, ...) without `border` pixels at every edge.

    Raises:
        ValueError: nothing would be left.
    """
    height, width = image.shape[:2]
    if border < 0 or min(height, width) <= 2 * border:
        raise ValueError(f"crop: {border} pixels from every edge leave nothing of an image of {width}x{height} pixels.")
    return image[border : height - border, border : width - border]


def psnr(a: Pixels, b: Pixels, border: int = 0) -> float:
    """Peak signal-to-noise ratio in dB of everything in the arrays, peak 255; infinite for identical images.

    Args:
        a, b: pixels, or luma from `to_y`, of one shape.
        border: pixels cut from every edge first.
    """
    x, y = _both(a, b, border)
    error = float(((x - y) ** 2).mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


def ssim(a: Pixels, b: Pixels, border: int = 0) -> float:
    """Structural similarity, the mean over the channels if there are several.

    Raises:
        ValueError: a side is shorter than the 11 pixels of the window once the border is cut.
    """
    x, y = _both(a, b, border)
    if min(x.shape[:2]) < len(TAPS):
        raise ValueError(
            f"ssim: {x.shape[1]}x{x.shape[0]} pixels are left of the image after cutting {border} from every edge; "
            f"it needs {len(TAPS)}x{len(TAPS)}."
        )
    return float(_ssim_map(x, y).mean())


def score(result: Pixels, reference: Pixels, border: int, rounded: bool = False) -> Score:
    """PSNR and SSIM of one result on luma; on raw gray where the reference is (H, W).

    Args:
        result: the enlarged image.
        reference: the original; cut at the right and bottom if it is larger than the result.
        border: pixels cut from every edge, the scale by convention, 0 for restoration at one size.
        rounded: round luma, as MATLAB scripts do.
    """
    a, b = _pixels(result), _pixels(reference)
    if b.ndim == 2:
        a = gray_of(a) if a.ndim == 3 else a
    else:
        a = np.repeat(a[..., None], 3, 2) if a.ndim == 2 else a
        a, b = to_y(a, rounded), to_y(b, rounded)
    b = b[: a.shape[0], : a.shape[1]]
    return Score(psnr(a, b, border), ssim(a, b, border))


def average(scores: Iterable[Score]) -> Score:
    """Mean over images, PSNR in dB. Images identical to their reference are named in a warning and left out of the
    mean of PSNR; it is infinite only if all are.

    Raises:
        ValueError: no scores.
    """
    scores = list(scores)
    if not scores:
        raise ValueError("average: there are no scores; the set holds no images.")
    finite = [s.psnr for s in scores if not math.isinf(s.psnr)]
    if len(finite) < len(scores):
        warnings.warn(
            f"{len(scores) - len(finite)} of {len(scores)} results are identical to their reference (infinite PSNR)"
            + (" and are left out of the mean PSNR." if finite else "."),
            stacklevel=2,
        )
    mean = math.fsum(finite) / len(finite) if finite else math.inf
    return Score(mean, math.fsum(s.ssim for s in scores) / len(scores))


def _pixels(image: Pixels) -> np.ndarray:
    array = to_uint8(image) if isinstance(image, Tensor) else image
    if array.ndim not in (2, 3):
        raise ValueError(f"metrics: expected an image (H, W) or (H, W, C), got shape {array.shape}.")
    if array.dtype != np.uint8 and array.dtype != np.float64:
        raise ValueError(f"metrics: expected uint8 pixels or float64 luma, got {array.dtype}.")
    return array


def _both(a: Pixels, b: Pixels, border: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = _pixels(a), _pixels(b)
    if x.shape != y.shape:
        raise ValueError(f"metrics: images of shapes {x.shape} and {y.shape} cannot be compared.")
    return crop(x, border).astype(np.float64), crop(y, border).astype(np.float64)


def _blur(x: NDArray[np.float64]) -> NDArray[np.float64]:
    half = len(TAPS) // 2
    x = correlate1d(x, TAPS, 0)[half:-half]
    return correlate1d(x, TAPS, 1)[:, half:-half]


def _ssim_map(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    mean_a, mean_b = _blur(a), _blur(b)
    product, squares = mean_a * mean_b, mean_a**2 + mean_b**2
    # Only the sum of the variances is needed, so four maps are smoothed, not five.
    covariance = _blur(a * b) - product
    variances = _blur(a * a + b * b) - squares
    return (2 * product + C1) * (2 * covariance + C2) / ((squares + C1) * (variances + C2))
