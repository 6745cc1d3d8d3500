"""The bicubic rows of published tables: three ways to the same baseline, about 0.01 dB apart.

    a  `bicubic_y`    rounded Y of the reference, shrunk WITHOUT rounding, enlarged, rounded: the published numbers of
                      Set5 and BSD100 to the last digit
    b  `bicubic_rgb`  8-bit low-resolution RGB as stored, enlarged, Y not rounded: what a network stands beside
    c  `bicubic_rgb` with `rounded`, Y rounded as in MATLAB scripts

Each takes the original, (H, W, 3) or gray (H, W), as uint8 and crops it to a multiple of the scale. Measured:

    ====== ===== ============== ============== ============== ==============
    set    scale published      a              b              c
    ====== ===== ============== ============== ============== ==============
    Set5   2     33.66 / .9299  33.661 / .9299 33.673 / .9303 33.640 / .9292
    Set5   3     30.39 / .8682  30.392 / .8682 30.403 / .8689 30.385 / .8678
    Set5   4     28.42 / .8104  28.421 / .8104 28.429 / .8111 28.416 / .8101
    Set14  2     30.24 / .8688  30.232 / .8687 30.230 / .8691 30.218 / .8683
    Set14  3     27.55 / .7742  27.541 / .7736 27.537 / .7745 27.530 / .7737
    Set14  4     26.00 / .7027  26.000 / .7019 25.994 / .7029 25.990 / .7023
    ====== ===== ============== ============== ============== ==============

Set14's gray `bridge` is compared on its raw values.
"""

__all__ = ["bicubic_rgb", "bicubic_y"]

import numpy as np
from numpy.typing import NDArray

from .metrics import Score, psnr, score, ssim, to_y
from .resize import modcrop, resize


def bicubic_y(original: NDArray[np.uint8], scale: int) -> Score:
    """On luma alone (a)."""
    y = modcrop(to_y(original, rounded=True) if original.ndim == 3 else original.astype(np.float64), scale)
    enlarged = resize(resize(y, scale=1 / scale), size=(y.shape[0], y.shape[1]))
    enlarged = np.floor(enlarged + 0.5).clip(0, 255)
    return Score(psnr(enlarged, y, scale), ssim(enlarged, y, scale))


def bicubic_rgb(original: NDArray[np.uint8], scale: int, rounded: bool = False) -> Score:
    """From 8-bit RGB (b), with luma rounded (c)."""
    original = modcrop(original, scale)
    return score(resize(resize(original, scale=1 / scale), scale=scale), original, scale, rounded)
