"""Average precision of instance masks by COCO's own code (pycocotools), from masks in memory.

    AP    mean over IoU 0.50, 0.55 .. 0.95 and over classes of the precision at 101 recalls; 100 masks an image
    AP_S, AP_M, AP_L   objects below 32^2 pixels, below 96^2, and larger

A crowd in the truth may be found any number of times, its overlap being intersection / area of the found mask. Values
are NaN where there is no object to be found (COCO writes -1).
"""

__all__ = ["Average", "Coded", "Instances", "coded", "mask_ap", "of_coded"]

import contextlib
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import UserError


class Instances(NamedTuple):
    """Objects of one image.

    Attributes:
        masks: (N, H, W), true within an object; objects may overlap.
        categories: (N,) whole numbers.
        scores: (N,) of found objects; None of true ones.
        crowd: (N,) of true objects that are regions of many.
    """

    masks: ArrayLike
    categories: Sequence[int]
    scores: Sequence[float] | None = None
    crowd: Sequence[bool] | None = None


class Average(NamedTuple):
    """Shares; 1 is perfect."""

    ap: float
    ap50: float
    ap75: float
    small: float
    medium: float
    large: float
    categories: dict[int, float]


class Coded(NamedTuple):
    """Objects of one image as COCO's records, whose masks are run lengths: a thousandth of the memory."""

    size: tuple[int, int]
    truth: list[dict[str, Any]]
    found: list[dict[str, Any]]


def mask_ap(truth: Sequence[Instances], found: Sequence[Instances]) -> Average:
    """Of a split.

    Args:
        truth, found: instances of each image, in the same order.

    Raises:
        UserError: pycocotools is not installed.
        ValueError: numbers of images, sizes or scores do not fit.
    """
    if len(truth) != len(found):
        raise ValueError(f"mask_ap: {len(truth)} images with truth, {len(found)} with found objects.")
    pairs = enumerate(zip(truth, found, strict=True))
    return of_coded([coded(own, other, f"image {n}") for n, (own, other) in pairs])


def coded(truth: Instances, found: Instances, where: str = "image") -> Coded:
    """One image, so that its masks need not be kept.

    Args:
        truth, found: its instances.
        where: its name, for errors.

    Raises:
        UserError: pycocotools is not installed.
        ValueError: sizes or scores do not fit.
    """
    shapes = {np.shape(image.masks)[1:] for image in (truth, found) if len(image.categories)}
    if len(shapes) > 1 or any(len(shape) != 2 for shape in shapes):
        raise ValueError(f"mask_ap: {where} has masks of sizes {sorted(shapes)}; they must be (N, H, W) of one.")
    size = shapes.pop() if shapes else (1, 1)
    return Coded((size[0], size[1]), _rows(truth), _rows(found, scored=True))


def of_coded(split: Sequence[Coded]) -> Average:
    """Of a split whose images were coded one by one."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images, annotations, results = [], [], []
    for number, image in enumerate(split, 1):
        images.append({"id": number, "height": image.size[0], "width": image.size[1]})
        annotations += [row | {"image_id": number} for row in image.truth]
        results += [row | {"image_id": number} for row in image.found]
    categories = sorted({row["category_id"] for row in annotations})
    for number, row in enumerate(annotations, 1):
        row["id"] = number
    nan = float("nan")
    if not annotations:
        return Average(nan, nan, nan, nan, nan, nan, {})
    # The package prints its progress.
    with contextlib.redirect_stdout(io.StringIO()):
        real = COCO()
        real.dataset = {"images": images, "annotations": annotations, "categories": [{"id": c} for c in categories]}
        real.createIndex()
        results = [row for row in results if row["category_id"] in set(categories)]
        if not results:
            return Average(0.0, 0.0, 0.0, nan, nan, nan, dict.fromkeys(categories, 0.0))
        evaluation = COCOeval(real, real.loadRes(results), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ap, ap50, ap75, small, medium, large = (float(v) if v >= 0 else float("nan") for v in evaluation.stats[:6])
    # Precision is (IoU, recall, category, area range, greatest number of masks).
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    each = {c: _mean(precision[:, :, n]) for n, c in enumerate(evaluation.params.catIds)}
    return Average(ap, ap50, ap75, small, medium, large, each)


def _mean(values: NDArray[Any]) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else float("nan")


def _rows(image: Instances, scored: bool = False) -> list[dict[str, Any]]:
    """COCO's records of an image's objects."""
    try:
        from pycocotools import mask as coding
    except ImportError:
        raise UserError(
            "mask AP is computed by pycocotools, which is not installed; pip install pycocotools."
        ) from None
    if scored and image.scores is None and len(image.categories):
        raise ValueError("mask_ap: found objects need scores.")
    masks = np.asarray(image.masks).astype(np.uint8)
    rows = []
    for n, category in enumerate(image.categories):
        runs = coding.encode(np.asfortranarray(masks[n]))
        row: dict[str, Any] = {"category_id": int(category), "segmentation": runs}
        if scored and image.scores is not None:
            row["score"] = float(image.scores[n])
        else:
            row["iscrowd"] = int(image.crowd[n]) if image.crowd is not None else 0
            row["area"], row["bbox"] = float(coding.area(runs)), coding.toBbox(runs).tolist()
        rows.append(row)
    return rows
