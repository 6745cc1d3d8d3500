"""How often classes occur, and what losses make of it.

With p_c the share of labelled pixels that class c has and f_c its share in the images that hold it,

    median frequency   w_c = median(f) / f_c          (Eigen & Fergus 2015, SegNet; f_c over all pixels of those images)
    ENet               w_c = 1 / ln(k + p_c)          (Paszke et al. 2016; k = 1.02; 1.10 keeps weights below 10.5)
"""

__all__ = ["Counts", "count", "enet_weights", "median_frequency_weights"]

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError

from .items import Scene, semantic
from .masks import IGNORE


class Counts:
    """Pixels of each class over images.

    Attributes:
        pixels: (K,) int64.
        present: (K,) int64, all pixels, void too, of the images that hold the class.
        void: pixels that do not count.
        images: how many there are.
    """

    def __init__(self, classes: int) -> None:
        self.pixels = np.zeros(classes, np.int64)
        self.present = np.zeros(classes, np.int64)
        self.void, self.images = 0, 0

    def add(self, scene: Scene) -> None:
        """Counts one image."""
        labels = scene.labels
        if labels is None and scene.segments is not None and scene.kinds is not None:
            labels = semantic(scene.segments, scene.kinds)
        if labels is None:
            raise ValueError(f"{scene.name}: has no labels to count.")
        found = np.bincount(labels.numpy().ravel(), minlength=256)
        own = found[: len(self.pixels)]
        self.pixels += own
        self.present += np.where(own > 0, labels.numel(), 0)
        self.void += int(found[IGNORE])
        self.images += 1

    def never(self, names: tuple[str, ...]) -> list[str]:
        """Names of the classes that no image holds: wrong values in masks or in the class list, mostly."""
        return [name for name, pixels in zip(names, self.pixels, strict=True) if pixels == 0]


def count(scenes: Iterable[Scene], classes: int) -> Counts:
    """Counts over scenes."""
    counts = Counts(classes)
    for scene in scenes:
        counts.add(scene)
    return counts


def median_frequency_weights(pixels: NDArray[np.int64], present: NDArray[np.int64]) -> list[float]:
    """Of each class; 0 for those that never occur.

    Raises:
        UserError: no class occurs.
    """
    seen = _seen(pixels)
    share = np.divide(pixels, present, out=np.zeros(len(pixels)), where=seen)
    return np.divide(np.median(share[seen]), share, out=np.zeros(len(pixels)), where=seen).tolist()


def enet_weights(pixels: NDArray[np.int64], k: float = 1.02) -> list[float]:
    """Of each class; the largest there is for those that never occur.

    Args:
        pixels: of each class.
        k: added to the share; must be above 1.
    """
    _seen(pixels)
    if k <= 1:
        raise ValueError(f"enet_weights: k {k} must be above 1.")
    return (1 / np.log(k + pixels / pixels.sum())).tolist()


def _seen(pixels: NDArray[np.int64]) -> NDArray[np.bool_]:
    if pixels.sum() == 0:
        raise UserError("class weights: no pixel of any class is labelled; check the values of the masks.")
    return np.asarray(pixels > 0)
