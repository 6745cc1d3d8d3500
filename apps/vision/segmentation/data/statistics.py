"""How often classes occur, and what losses make of it.

With p_c the share of labelled pixels that class c has and f_c its share in the images that hold it,

    median frequency   w_c = median(f) / f_c          (Eigen & Fergus 2015, SegNet; f_c over all pixels of those images)
    ENet               w_c = 1 / ln(k + p_c)          (Paszke et al. 2016; k = 1.02; 1.10 keeps weights below 10.5)
"""

__all__ = ["Counts", "count", "enet_weights", "median_frequency_weights", "mild_weights"]

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError

from .items import Scene, labels_of
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
        labels = labels_of(scene)
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


def median_frequency_weights(counts: Counts) -> list[float]:
    """Of each class; 0 for those that never occur.

    Raises:
        UserError: no class occurs.
    """
    pixels, seen = counts.pixels, _seen(counts.pixels)
    share = np.divide(pixels, counts.present, out=np.zeros(len(pixels)), where=seen)
    return np.divide(np.median(share[seen]), share, out=np.zeros(len(pixels)), where=seen).tolist()


def enet_weights(counts: Counts, k: float = 1.02) -> list[float]:
    """Of each class; the largest there is for those that never occur.

    Args:
        counts: of the training images.
        k: added to the share; must be above 1.

    Raises:
        UserError: no class occurs.
    """
    _seen(counts.pixels)
    if k <= 1:
        raise ValueError(f"enet_weights: k {k} must be above 1.")
    return (1 / np.log(k + counts.pixels / counts.pixels.sum())).tolist()


def mild_weights(counts: Counts) -> list[float]:
    """`enet_weights` with k = 1.10, which keeps them below 10.5."""
    return enet_weights(counts, 1.10)


def _seen(pixels: NDArray[np.int64]) -> NDArray[np.bool_]:
    if pixels.sum() == 0:
        raise UserError("class weights: no pixel of any class is labelled; check the values of the masks.")
    return np.asarray(pixels > 0)
