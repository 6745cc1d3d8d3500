"""Panoptic quality, equal to COCO's evaluation (Kirillov et al. 2019; panopticapi).

A segmentation is a map of segment numbers, 0 being void, with a category for each number. In each image:

    candidates   truth g that is no crowd, prediction p of the same category
    union        = area_p + area_g - intersection - pixels of p on the truth's void
    a match      intersection / union > 0.5, which is unique
    false negative   a truth that is no crowd and unmatched
    false positive   an unmatched prediction, unless more than half of it lies on void or on the crowd of its category

and over all images, for each category,

    SQ = (sum of matched IoU) / tp,   RQ = tp / (tp + fp / 2 + fn / 2),   PQ = SQ RQ

Means go over categories with tp + fp + fn > 0, so one that is only ever predicted counts as 0; the mean of PQ is not
the product of the means of SQ and RQ. Of several crowds of a category in one image the last listed counts, as there.

torchmetrics' `PanopticQuality` has no crowds and drops false negatives that lie on predicted void: another number.

Areas are counted. The official code takes those of the truth from its JSON, which are wrong once maps were resized;
give `Segment.area` for its behaviour.
"""

__all__ = ["PanopticQuality", "Quality", "Segment", "Summary"]

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torchmetrics import Metric


class Segment(NamedTuple):
    """One segment of an image.

    Attributes:
        id: its number in the map, not 0.
        category: the set's own number of its class.
        crowd: a region of many objects, in truths alone.
        area: pixels, where they shall not be counted.
    """

    id: int
    category: int
    crowd: bool = False
    area: int | None = None


class Quality(NamedTuple):
    """Shares (1 is perfect) of a category, or means over `n` categories; NaN where `n` is 0."""

    pq: float
    sq: float
    rq: float
    n: int = 1


class Summary(NamedTuple):
    """What a split says: means over all categories, things and stuff, and those categories that occurred."""

    all: Quality
    things: Quality
    stuff: Quality
    categories: dict[int, Quality]


class PanopticQuality(Metric):
    """Counts over a whole split, summed over images and processes.

    Args:
        categories: for each category whether it is a thing.
    """

    full_state_update = False
    higher_is_better = True
    tp: Tensor
    fp: Tensor
    fn: Tensor
    iou: Tensor

    def __init__(self, categories: Mapping[int, bool]) -> None:
        super().__init__()
        self.categories = dict(categories)
        self._place = {category: n for n, category in enumerate(self.categories)}
        for name in ("tp", "fp", "fn"):
            self.add_state(name, torch.zeros(len(self._place), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("iou", torch.zeros(len(self._place), dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self,
        truth: ArrayLike | Tensor,
        true_segments: Sequence[Segment],
        found: ArrayLike | Tensor,
        found_segments: Sequence[Segment],
        where: str = "panoptic quality",
    ) -> None:
        """Adds one image.

        Args:
            truth, found: (H, W) segment numbers.
            true_segments, found_segments: what the numbers are.
            where: name of the image, for errors.

        Raises:
            ValueError: sizes differ, a category is unknown, or predicted map and segments do not name the same numbers.
        """
        counts = _Counts(_array(truth), _array(found), where)
        true, predicted = self._listed(true_segments, where), self._listed(found_segments, where)
        if unlisted := sorted(counts.found.keys() - predicted.keys() - {0}):
            raise ValueError(f"{where}: the predicted map holds segment {unlisted[0]}, its segments do not list it.")
        if absent := sorted(predicted.keys() - counts.found.keys()):
            raise ValueError(f"{where}: the prediction lists segment {absent[0]}, its map has no pixel of it.")
        matched_true, matched = set(), set()
        for (g, p), both in counts.both.items():
            if g not in true or p not in predicted or true[g].crowd or true[g].category != predicted[p].category:
                continue
            stated = true[g].area
            area = counts.true[g] if stated is None else stated
            iou = both / (counts.found[p] + area - both - counts.both.get((0, p), 0))
            if iou > 0.5:
                place = self._place[true[g].category]
                self.tp[place] += 1
                self.iou[place] += iou
                matched_true.add(g)
                matched.add(p)
        crowds = {}
        for number, segment in true.items():
            if segment.crowd:
                crowds[segment.category] = number
            elif number not in matched_true:
                self.fn[self._place[segment.category]] += 1
        for number, segment in predicted.items():
            if number not in matched:
                excused = counts.both.get((0, number), 0)
                if segment.category in crowds:
                    excused += counts.both.get((crowds[segment.category], number), 0)
                if not excused / counts.found[number] > 0.5:
                    self.fp[self._place[segment.category]] += 1

    def _listed(self, segments: Sequence[Segment], where: str) -> dict[int, Segment]:
        for segment in segments:
            if segment.category not in self._place:
                raise ValueError(f"{where}: segment {segment.id} is of category {segment.category}, which is unknown.")
        return {segment.id: segment for segment in segments}

    def compute(self) -> Summary:
        """The qualities so far, of all processes."""
        tp, fp, fn, iou = (x.double().cpu().numpy() for x in (self.tp, self.fp, self.fn, self.iou))
        each = {}
        for category, n in self._place.items():
            if tp[n] + fp[n] + fn[n]:
                whole = tp[n] + fp[n] / 2 + fn[n] / 2
                each[category] = Quality(
                    float(iou[n] / whole), float(iou[n] / tp[n]) if tp[n] else 0.0, float(tp[n] / whole)
                )
        things = [quality for category, quality in each.items() if self.categories[category]]
        stuff = [quality for category, quality in each.items() if not self.categories[category]]
        return Summary(_mean(list(each.values())), _mean(things), _mean(stuff), each)


class _Counts:
    """Pixels of every segment and of every pair, from one sort of the joint map."""

    def __init__(self, truth: NDArray[np.int64], found: NDArray[np.int64], where: str) -> None:
        if truth.shape != found.shape or truth.ndim != 2:
            raise ValueError(f"{where}: truth {truth.shape} and prediction {found.shape} must be maps of one size.")
        if truth.size and min(int(truth.min()), int(found.min())) < 0:
            raise ValueError(f"{where}: segment numbers must not be negative.")
        base = int(found.max(initial=0)) + 1
        joint, counted = np.unique(truth * base + found, return_counts=True)
        pairs = zip((joint // base).tolist(), (joint % base).tolist(), counted.tolist(), strict=True)
        self.both: dict[tuple[int, int], int] = {}
        self.true: dict[int, int] = {}
        self.found: dict[int, int] = {}
        for g, p, pixels in pairs:
            self.both[g, p] = pixels
            self.true[g] = self.true.get(g, 0) + pixels
            self.found[p] = self.found.get(p, 0) + pixels


def _array(x: ArrayLike | Tensor) -> NDArray[np.int64]:
    return (x.cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)).astype(np.int64)


def _mean(qualities: list[Quality]) -> Quality:
    if not qualities:
        return Quality(float("nan"), float("nan"), float("nan"), 0)
    pq, sq, rq, _ = (float(np.mean(column)) for column in zip(*qualities, strict=True))
    return Quality(pq, sq, rq, len(qualities))
