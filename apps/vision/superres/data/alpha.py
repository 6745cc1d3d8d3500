"""Transparency beside an enlarged picture.

Editors leave any colour (mostly black) under transparent pixels; a network smears it into the visible edge as a dark
fringe. So the colour of the nearest visible pixel is put there before enlarging, and alpha is enlarged by itself.
"""

__all__ = ["bleed", "enlarge_alpha"]

import numpy as np
from scipy.ndimage import distance_transform_edt

from apps.vision.superres.resize import resize


def bleed(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Pixels (H, W, 3) with the colour of the nearest pixel that shows where alpha (H, W) is 0.

    Nothing shows at all: pixels as they are.
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return pixels
    rows, columns = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return pixels[rows, columns]


def enlarge_alpha(alpha: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Alpha (H, W) at (height, width), bicubic, in its own type."""
    return resize(alpha, size=size)
