"""Dice and the 95 % Hausdorff distance of organs in volumes, as medical tables report them.

    Dice = 2 TP / (2 TP + FP + FN),       1 where neither label nor prediction has a voxel of the organ
    HD95 = 95 % quantile of the distances of all surface voxels of either to the surface of the other, in millimetres

Values are of whole volumes, not of slices; tables give the mean over volumes for each organ and the mean of those over
organs. The surface is what an erosion by the six (four, in images) neighbours takes away.

HD95 where only one of the two has the organ is NaN and not part of the mean, but counted in `missed`; releases that
write 0 there reward a network for not finding an organ. Where neither has it, it is 0.
"""

__all__ = ["Organ", "dice", "hd95", "organs"]

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt


class Organ(NamedTuple):
    """Means over volumes of one class.

    Attributes:
        dice: share.
        hd95: millimetres; NaN where no volume has a value.
        missed: volumes in which only label or only prediction has it.
    """

    dice: float
    hd95: float
    missed: int


def dice(prediction: ArrayLike, label: ArrayLike) -> float:
    """Of one binary mask of any number of axes."""
    found, true = _pair(prediction, label)
    total = int(found.sum()) + int(true.sum())
    return 1.0 if total == 0 else 2 * int((found & true).sum()) / total


def hd95(prediction: ArrayLike, label: ArrayLike, spacing: Sequence[float] | None = None) -> float:
    """Of one binary mask.

    Args:
        prediction, label: of the same shape.
        spacing: size of a voxel along each axis in millimetres; 1 by default.

    Raises:
        ValueError: shapes differ, or spacing has another number of axes.
    """
    found, true = _pair(prediction, label)
    if spacing is not None and len(spacing) != found.ndim:
        raise ValueError(f"hd95: spacing {tuple(spacing)} needs one number for each of the {found.ndim} axes.")
    if not found.any() or not true.any():
        return 0.0 if found.any() == true.any() else float("nan")
    own, other = found & ~binary_erosion(found), true & ~binary_erosion(true)
    there = distance_transform_edt(~other, sampling=spacing)[own]
    back = distance_transform_edt(~own, sampling=spacing)[other]
    return float(np.percentile(np.concatenate([there, back]), 95))


def organs(
    volumes: Iterable[tuple[ArrayLike, ArrayLike, Sequence[float] | None]], classes: Sequence[int]
) -> dict[int, Organ]:
    """Means over volumes.

    Args:
        volumes: prediction, label and spacing of each.
        classes: numbers of the organs, without background.
    """
    values: dict[int, list[tuple[float, float]]] = {c: [] for c in classes}
    for prediction, label, spacing in volumes:
        found, true = np.asarray(prediction), np.asarray(label)
        for c, rows in values.items():
            rows.append((dice(found == c, true == c), hd95(found == c, true == c, spacing)))
    result = {}
    for c, rows in values.items():
        if not rows:
            raise ValueError("organs: there is no volume.")
        distances = np.array([d for _, d in rows])
        known = distances[~np.isnan(distances)]
        mean = float(known.mean()) if len(known) else float("nan")
        result[c] = Organ(float(np.mean([s for s, _ in rows])), mean, int(np.isnan(distances).sum()))
    return result


def _pair(prediction: ArrayLike, label: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    found, true = np.asarray(prediction).astype(bool), np.asarray(label).astype(bool)
    if found.shape != true.shape:
        raise ValueError(f"dice: prediction {found.shape} and label {true.shape} must have one shape.")
    return found, true
