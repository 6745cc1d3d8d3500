"""MATLAB's bicubic `imresize` to the byte, with which the low-resolution images of every benchmark are made.

One direction, n pixels to m, scale s: m = ceil(n s) where a scale is given, s = m / n where a size is. Output pixel
x = 1..m lies at u = x / s + (1 - 1/s) / 2 of the input and takes the mean of the pixels i around it weighted with

    k(u - i)  if s >= 1,     s k(s (u - i))  if s < 1 (antialiased: the kernel is 4 / s wide),

normalised to sum 1, where k is Keys' kernel with a = -1/2. The direction with the smaller scale goes first, the
vertical one on a tie. Integer images are rounded (half up) and clipped after EACH direction, as MATLAB does on uint8;
rounding once at the end changes about 15 per cent of the values by 1. Floating images are not rounded.

Borders: `symmetric` (mirror that repeats the edge pixel; MATLAB today) or `replicate` (edge pixel; old MATLAB, in which
the SelfExSR and RCAN test sets were made). They differ within a few pixels of the edges.

Other libraries' "bicubic" is another filter: Pillow cuts and renormalises the border and rounds the weights to 8 bit,
OpenCV has a = -3/4 and no antialiasing, torch renormalises the border.

A direction is one product with a matrix of 4 (or 4/s) entries a row, made once a size. 512x512x3 to a quarter takes
3 ms on one thread; the tensor form uses the same matrix dense, carries gradients and runs on any device.
"""

__all__ = ["modcrop", "replicate", "resize", "resize_planes", "symmetric"]

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

Border = Callable[[NDArray[np.int64], int], NDArray[np.int64]]


def symmetric(index: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Pixels beyond the edge mirror those before it, edge pixel included, as often as needed (period 2n)."""
    index = index % (2 * n)
    return np.where(index < n, index, 2 * n - 1 - index)


def replicate(index: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Pixels beyond the edge are the edge pixel."""
    return index.clip(0, n - 1)


def modcrop(image: np.ndarray, scale: int) -> np.ndarray:
    """The image (H, W) or (H, W, C) without the last rows and columns that make its size no multiple of `scale`.

    Raises:
        ValueError: nothing would be left.
    """
    height, width = image.shape[:2]
    if min(height, width) < scale:
        raise ValueError(f"modcrop: an image of {width}x{height} pixels is smaller than the scale {scale}.")
    return image[: height - height % scale, : width - width % scale]


def resize(
    image: np.ndarray,
    *,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    border: Border = symmetric,
) -> np.ndarray:
    """Resizes an array.

    Args:
        image: (H, W) or (H, W, C), uint8 or uint16 (rounded after each direction) or floating (float64 inside).
        scale: of both directions; or
        size: (height, width) wanted.
        border: `symmetric` or `replicate`.

    Returns:
        The resized image in its own integer type, or in float64.

    Raises:
        ValueError: not an image, neither or both of scale and size, an empty result.
    """
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"resize: expected an image (H, W) or (H, W, C) that is not empty, got shape {image.shape}.")
    whole = np.issubdtype(image.dtype, np.integer)
    if whole and image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"resize: expected uint8, uint16 or floating pixels, got {image.dtype}.")
    result = image
    for axis, n, m, s in _directions(image.shape[:2], scale, size):
        flat = np.moveaxis(result, axis, 0)
        rest = flat.shape[1:]
        flat = _weights(n, m, s, border) @ np.ascontiguousarray(flat.reshape(n, -1), dtype=np.float64)
        if whole:
            flat = np.floor(flat + 0.5).clip(0, np.iinfo(image.dtype).max)
        result = np.moveaxis(flat.reshape(m, *rest), 0, axis)
    return np.ascontiguousarray(result, dtype=image.dtype if whole else np.float64)


def resize_planes(
    x: Tensor,
    *,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    border: Border = symmetric,
) -> Tensor:
    """Resizes a floating tensor (..., H, W), not rounded and not clipped, in its own precision and with gradients."""
    if x.dim() < 2 or not x.is_floating_point():
        raise ValueError(f"resize_planes: expected a floating tensor (..., H, W), got {x.dtype} of {tuple(x.shape)}.")
    for axis, n, m, s in _directions(tuple(x.shape[-2:]), scale, size):
        matrix = torch.from_numpy(_weights(n, m, s, border).toarray()).to(x)
        x = matrix @ x if axis == 0 else x @ matrix.mT
    return x


def _directions(
    shape: tuple[int, ...], scale: float | None, size: tuple[int, int] | None
) -> list[tuple[int, int, int, float]]:
    """(axis, old length, new length, scale) in the order in which they are done."""
    if (scale is None) == (size is None):
        raise ValueError(f"resize: give either scale ({scale}) or size ({size}).")
    if scale is not None:
        if not 0 < scale < math.inf:
            raise ValueError(f"resize: scale {scale} must be positive.")
        steps = [(axis, n, math.ceil(n * scale), float(scale)) for axis, n in enumerate(shape)]
    else:
        assert size is not None
        if min(size) < 1:
            raise ValueError(f"resize: size {size} must be at least 1 by 1.")
        steps = [(axis, n, m, m / n) for axis, (n, m) in enumerate(zip(shape, size, strict=True))]
    return sorted(steps, key=lambda step: step[3])


def _keys(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel, a = -1/2."""
    t = np.abs(t)
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t <= 1, near, np.where(t <= 2, far, 0.0))


@lru_cache(maxsize=256)
def _weights(n: int, m: int, s: float, border: Border) -> csr_array:
    """The (m, n) matrix of one direction."""
    width = 4.0 if s >= 1 else 4 / s
    centre = np.arange(1, m + 1) / s + 0.5 * (1 - 1 / s)
    index = np.floor(centre - width / 2)[:, None] + np.arange(math.ceil(width) + 2)
    distance = centre[:, None] - index
    weight = _keys(distance) if s >= 1 else s * _keys(s * distance)
    weight /= weight.sum(1, keepdims=True)
    column = border(index.astype(np.int64) - 1, n)
    used = weight != 0
    ends = np.concatenate([[0], used.sum(1).cumsum()])
    # Mirrored taps stay entries of their own: summed in the order of the taps, floats come out equal to the last bit.
    return csr_array((weight[used], column[used], ends), shape=(m, n))
