"""Boundary F and region J of binary masks, as DAVIS evaluates video objects (Perazzi et al. 2016).

A pixel is on the boundary of a mask if its right, lower or lower-right neighbour is of the other kind; the last row
looks only to the right, the last column only down. With the boundaries P of the prediction and G of the label and a
tolerance of r pixels,

    precision = share of P within r of G,   recall = share of G within r of P,   F = 2 precision recall / (sum)
    r = ceil(0.008 * diagonal of the image)
    J = intersection / union; 1 where both masks are empty

Both boundaries empty: F is 1; one of them empty: 0. The toolkit dilates by a disk of radius r; the Euclidean distance
to the other boundary is <= r in the same pixels, at a cost that does not grow with r.

A sequence's value is the mean over its frames, the set's the mean over sequences (`sequences`).
"""

__all__ = ["boundaries", "boundary_f", "region_j", "sequences"]

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt

Mask = NDArray[np.bool_]


def boundaries(mask: ArrayLike) -> Mask:
    """(H, W) of a mask (H, W): which pixels are on its boundary."""
    inside = np.asarray(mask).astype(bool)
    if inside.ndim != 2:
        raise ValueError(f"boundaries: expected one mask (H, W), got {inside.shape}.")
    edge = np.zeros_like(inside)
    edge[:, :-1] |= inside[:, :-1] ^ inside[:, 1:]
    edge[:-1] |= inside[:-1] ^ inside[1:]
    edge[:-1, :-1] |= inside[:-1, :-1] ^ inside[1:, 1:]
    return edge


def boundary_f(prediction: ArrayLike, label: ArrayLike, tolerance: float = 0.008) -> float:
    """F of one mask.

    Args:
        prediction, label: (H, W), 0 is background.
        tolerance: share of the image's diagonal, or pixels if it is 1 or more.
    """
    found, true = boundaries(prediction), boundaries(label)
    if found.shape != true.shape:
        raise ValueError(f"boundary_f: masks of {found.shape} and {true.shape} must have one size.")
    some_found, some_true = bool(found.any()), bool(true.any())
    if not (some_found and some_true):
        return float(some_found == some_true)
    reach = tolerance if tolerance >= 1 else math.ceil(tolerance * math.hypot(*found.shape))
    precision = float((distance_transform_edt(~true)[found] <= reach).mean())
    recall = float((distance_transform_edt(~found)[true] <= reach).mean())
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def region_j(prediction: ArrayLike, label: ArrayLike) -> float:
    """IoU of one mask with its label, 1 where both are empty."""
    found, true = np.asarray(prediction).astype(bool), np.asarray(label).astype(bool)
    if found.shape != true.shape:
        raise ValueError(f"region_j: masks of {found.shape} and {true.shape} must have one size.")
    union = int((found | true).sum())
    return 1.0 if union == 0 else int((found & true).sum()) / union


def sequences(values: Mapping[str, Sequence[float]]) -> float:
    """The mean over sequences of the means over their frames.

    Args:
        values: J or F of each frame, by sequence.

    Raises:
        ValueError: there is none, or one without frames.
    """
    if not values or not all(len(frames) for frames in values.values()):
        raise ValueError("sequences: needs at least one sequence, each with at least one frame.")
    return float(np.mean([np.mean(frames) for frames in values.values()]))
