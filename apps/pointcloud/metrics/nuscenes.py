"""nuScenes' mean average precision, true-positive errors and detection score (Caesar et al. 2020), configuration
`detection_cvpr_2019`, equal to the devkit to rounding.

Boxes are matched by the distance of their centres seen from above, below d of .5, 1, 2 and 4 m. Over all samples by
falling score (of equal scores the LATER detection is the first, as the devkit sorts), each takes the nearest free
object of its class in its sample. Precision is interpolated at 101 recalls; with its first 11 left out,

    AP = mean(max(precision - .1, 0)) / .9

Errors are those of what was found at 2 m: distance, 1 - IoU of the aligned boxes, angle, speed difference, wrong
attributes; each as the running mean by falling score, interpolated at the same recalls, averaged over those from 11 to
the highest one reached, 1 if recall .1 is not reached. The detection score is

    NDS = (5 mAP + sum over the five of max(0, 1 - mean error)) / 10

A traffic cone has no angle, speed and attribute, a barrier no speed and attribute; a barrier's angle has the period pi.

Objects without points and boxes beyond the class's range around the ego vehicle do not count, nor do bicycles and
motorcycles, annotated or found, whose centre is in an annotated bicycle rack.
"""

__all__ = ["CLASSES", "RANGE", "NuscenesBoxes", "NuscenesScores", "evaluate"]

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from apps.pointcloud.boxes import points_in_boxes

from .matching import Floats, Ints, frame_numbers, frame_pairs, table, turns

RANGE = {
    "car": 50, "truck": 50, "bus": 50, "trailer": 50, "construction_vehicle": 50, "pedestrian": 40, "motorcycle": 40,
    "bicycle": 40, "traffic_cone": 30, "barrier": 30,
}  # fmt: skip
"""Metres from the ego vehicle that a class is evaluated within."""
CLASSES = tuple(RANGE)
PARKED = ("bicycle", "motorcycle")
COLUMNS = 8
"""Fields of `NuscenesBoxes` with a row a box."""
DISTANCES = (0.5, 1.0, 2.0, 4.0)
ERRORS = ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err")
MOST = 500
"""Detections of a sample."""
RECALLS = np.linspace(0, 1, 101)
FIRST = 11


class NuscenesBoxes(NamedTuple):
    """Of one sample, in any axes with z up that do not move.

    Attributes:
        centre: (M, 3).
        size: (M, 3) width, length, height.
        heading: (M,).
        velocity: (M, 2), NaN where unknown.
        names: (M,) classes.
        attributes: (M,) text, "" where there is none.
        points: (M,) LiDAR and radar points in annotated boxes; anything in detections.
        score: (M,) of detections; anything in annotations.
        ego: (2,) where the ego vehicle is.
        racks: (R, 7) bicycle racks, of annotations.
    """

    centre: Floats
    size: Floats
    heading: Floats
    velocity: Floats
    names: NDArray[np.str_]
    attributes: NDArray[np.str_]
    points: Floats
    score: Floats
    ego: Floats
    racks: Floats = np.zeros((0, 7))


class NuscenesScores(NamedTuple):
    """What the devkit's summary holds.

    Attributes:
        nds, mean_ap: in [0, 1].
        errors: mean of each error over the classes that have it.
        label_aps: class -> distance -> AP.
        label_errors: class -> error, NaN where a class has none.
        objects: class -> objects that count.
    """

    nds: float
    mean_ap: float
    errors: dict[str, float]
    label_aps: dict[str, dict[float, float]]
    label_errors: dict[str, dict[str, float]]
    objects: dict[str, int]


def evaluate(truth: Sequence[NuscenesBoxes], found: Sequence[NuscenesBoxes]) -> NuscenesScores:
    """Of annotated samples and their detections, in the same order.

    Raises:
        ValueError: there are not as many samples of both, or a sample has more than 500 detections.
    """
    if len(truth) != len(found):
        raise ValueError(f"nuscenes.evaluate: {len(truth)} annotated samples, {len(found)} with detections.")
    if (most := max((len(f.names) for f in found), default=0)) > MOST:
        raise ValueError(
            f"nuscenes.evaluate: a sample has {most} detections; at most {MOST} are allowed, keep the best."
        )
    aps: dict[str, dict[float, float]] = {}
    errors: dict[str, dict[str, float]] = {}
    objects: dict[str, int] = {}
    for name in CLASSES:
        own = [_select(sample, name, sample.racks, annotated=True) for sample in truth]
        others = [_select(sample, name, t.racks, annotated=False) for sample, t in zip(found, truth, strict=True)]
        pairs = _Pairs(own, others)
        objects[name] = len(pairs.truth.names)
        aps[name] = {}
        for distance in DISTANCES:
            matched = pairs.match(distance)
            precision, confidence = pairs.curves(matched)
            aps[name][distance] = float(np.clip(precision[FIRST:] - 0.1, 0, None).mean() / 0.9)
            if distance == 2.0:
                errors[name] = pairs.errors(name, matched, confidence)
    mean_ap = float(np.mean([np.mean(list(values.values())) for values in aps.values()]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        means = {error: float(np.nanmean([errors[name][error] for name in CLASSES])) for error in ERRORS}
    nds = (5 * mean_ap + sum(max(0.0, 1 - value) for value in means.values())) / 10
    return NuscenesScores(nds, mean_ap, means, aps, errors, objects)


def _select(sample: NuscenesBoxes, name: str, racks: Floats, *, annotated: bool) -> NuscenesBoxes:
    near = np.hypot(*(sample.centre[:, :2] - sample.ego).T) < RANGE[name]
    keep = (sample.names == name) & near & ((sample.points > 0) if annotated else True)
    if name in PARKED and len(racks):
        keep &= ~points_in_boxes(torch.from_numpy(sample.centre), torch.from_numpy(racks)).any(1).numpy()
    return _rows(sample, keep)


def _rows(boxes: NuscenesBoxes, which: NDArray) -> NuscenesBoxes:
    """Some of them, by a mask or by their numbers."""
    return NuscenesBoxes(*(column[which] for column in boxes[:COLUMNS]), boxes.ego)


class _Pairs:
    """Objects and detections of one class: (K,) detections stand by falling score."""

    def __init__(self, truth: list[NuscenesBoxes], found: list[NuscenesBoxes]):
        self.truth, everything = _joined(truth), _joined(found)
        number = len(everything.names)
        order = np.lexsort((np.arange(number), everything.score))[::-1]
        self.found = _rows(everything, order)
        self.frames = frame_numbers([len(f.names) for f in found])[order]
        columns, rows = frame_pairs([len(f.names) for f in found], [len(t.names) for t in truth])
        place = np.empty(number, np.int64)
        place[order] = np.arange(number)
        columns = place[columns]
        away = np.sqrt(np.square(self.found.centre[columns, :2] - self.truth.centre[rows, :2]).sum(1))
        near = away < max(DISTANCES)
        columns, rows, away = columns[near], rows[near], away[near]
        sort = np.argsort(columns, kind="stable")
        self.columns, self.rows, self.away = columns[sort], rows[sort], away[sort]

    def match(self, distance: float) -> Ints:
        """(K,) the object that each detection found, -1 for none."""
        result = np.full(len(self.frames), -1)
        near = self.away < distance
        away = np.append(self.away[near], np.inf)
        none = len(self.truth.names)
        places, candidates, number = table(self.columns[near], self.rows[near], none)
        taken = np.zeros(none + 1, bool)
        taken[-1] = True
        for turn in turns(self.frames[places]):
            options = candidates[turn]
            rank = np.where(taken[options], np.inf, away[number[turn]])
            chosen = np.take_along_axis(options, rank.argmin(1)[:, None], 1)[:, 0]
            free = ~taken[chosen]
            taken[chosen[free]] = True
            result[places[turn[free]]] = chosen[free]
        return result

    def curves(self, matched: Ints) -> tuple[Floats, Floats]:
        """Precision and score (101,) at the recalls; zeros where nothing was found."""
        objects = len(self.truth.names)
        hits = matched >= 0
        if not objects or not hits.any():
            return np.zeros(101), np.zeros(101)
        tp = hits.cumsum().astype(np.float64)
        recall = tp / objects
        precision = tp / np.arange(1, len(hits) + 1)
        return np.interp(RECALLS, recall, precision, right=0), np.interp(RECALLS, recall, self.found.score, right=0)

    def errors(self, name: str, matched: Ints, confidence: Floats) -> dict[str, float]:
        """The five of a class."""
        absent = {"traffic_cone": ERRORS[2:], "barrier": ERRORS[3:]}.get(name, ())
        hits = matched >= 0
        reached = np.flatnonzero(confidence)
        last = reached[-1] if len(reached) else 0
        if not hits.any() or last < FIRST:
            return {error: np.nan if error in absent else 1.0 for error in ERRORS}
        scores = self.found.score[hits]
        values = self._differences(np.flatnonzero(hits), matched[hits], np.pi if name == "barrier" else 2 * np.pi)
        result = {}
        for error, value in zip(ERRORS, values, strict=True):
            # np.interp wants rising positions; scores fall.
            curve = np.interp(confidence[::-1], scores[::-1], _running_mean(value)[::-1])[::-1]
            result[error] = np.nan if error in absent else float(curve[FIRST : last + 1].mean())
        return result

    def _differences(self, detections: Ints, objects: Ints, period: float) -> tuple[Floats, ...]:
        own, other = _rows(self.truth, objects), _rows(self.found, detections)
        distance = np.sqrt(np.square(own.centre[:, :2] - other.centre[:, :2]).sum(1))
        shared = np.minimum(own.size, other.size).prod(1)
        size = 1 - shared / (own.size.prod(1) + other.size.prod(1) - shared)
        turn = own.heading - other.heading
        angle = np.abs((turn + period / 2) % period - period / 2)
        speed = np.sqrt(np.square(own.velocity - other.velocity).sum(1))
        attribute = np.where(own.attributes == "", np.nan, own.attributes != other.attributes)
        return distance, size, angle, speed, attribute


def _running_mean(values: Floats) -> Floats:
    """Mean of what is known up to here; 0 before the first, 1 everywhere if nothing is."""
    known = ~np.isnan(values)
    if not known.any():
        return np.ones_like(values)
    return np.where(known, values, 0).cumsum() / np.maximum(known.cumsum(), 1)


def _joined(samples: list[NuscenesBoxes]) -> NuscenesBoxes:
    columns = zip(*(sample[:COLUMNS] for sample in samples), strict=True)
    return NuscenesBoxes(*(np.concatenate(column) for column in columns), np.zeros(2))
