"""Average precision of boxes alone, for data of any kind: no image, no difficulty, any number of objects.

Detections of a class are taken by falling score over all frames (of equal ones the earlier first); each finds the free
object of its frame with the largest IoU above the threshold. Of precision and recall after each detection, precision is
made non-increasing; `ap` is the area below it (every recall there is; the AP of Pascal VOC since 2010), `r40` its mean
at recalls 1/40 .. 1, KITTI's measure without its trap: perfect detection scores 100 whatever the number of objects.

Objects can be told apart, by range or by the points in them. Those of other groups are ignored: finding them is neither
right nor wrong, and an object of the group is preferred. A detection that finds nothing is wrong in the group its range
says, and in every group of points, as nobody knows how many points an object that is not there has.
"""

__all__ = ["RANGES", "Objects", "Score", "average_precision", "by_points", "by_range"]

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apps.pointcloud.iou import bev_iou, iou_3d

from .matching import Floats, Ints, cumulative, envelope, frame_numbers, frame_pairs, table, turns

RANGES = (0.0, 15.0, 30.0, 50.0, float("inf"))


class Objects(NamedTuple):
    """Of one frame.

    Attributes:
        boxes: (M, 7 or 9).
        names: their M classes.
        scores: (M,) of detections; None of annotations.
        points: (M,) points in each annotated box, where groups of points are asked for.
    """

    boxes: Tensor
    names: Sequence[str]
    scores: Tensor | None = None
    points: Tensor | None = None


class Score(NamedTuple):
    """One class.

    Attributes:
        name: of the class.
        group: what is looked at: "all", "0-15 m", "5+ points".
        overlap: IoU above which an object is found.
        objects: how many count.
        detections: how many are right or wrong.
        ap, r40, recall: percent; NaN where there are no objects.
        precision, recalls: the curve, (K,) after each detection, precision made non-increasing.
    """

    name: str
    group: str
    overlap: float
    objects: int
    detections: int
    ap: float
    r40: float
    recall: float
    precision: Floats
    recalls: Floats


def average_precision(
    truth: Sequence[Objects], found: Sequence[Objects], overlaps: Mapping[str, float], *, height: bool = True
) -> list[Score]:
    """A row for each class named in `overlaps`.

    Args:
        truth, found: annotations and detections of each frame, in the same order.
        overlaps: IoU that a detection must exceed, for each class.
        height: IoU in space; seen from above without.
    """
    matcher = _Matcher(truth, found, height)
    everything = np.ones(matcher.truth_count, bool), np.ones(matcher.found_count, bool)
    return [matcher.score(name, "all", limit, *everything) for name, limit in overlaps.items()]


def by_range(
    truth: Sequence[Objects],
    found: Sequence[Objects],
    overlaps: Mapping[str, float],
    edges: Sequence[float] = RANGES,
    *,
    height: bool = True,
) -> list[Score]:
    """Rows for each class and ring around the sensor: edges[n] <= distance seen from above < edges[n + 1]."""
    matcher = _Matcher(truth, found, height)
    rows = []
    for name, limit in overlaps.items():
        for low, high in pairwise(edges):
            label = f"{low:g}+ m" if high == float("inf") else f"{low:g}-{high:g} m"
            groups = ((distance >= low) & (distance < high) for distance in matcher.distances())
            rows.append(matcher.score(name, label, limit, *groups))
    return rows


def by_points(
    truth: Sequence[Objects],
    found: Sequence[Objects],
    overlaps: Mapping[str, float],
    least: Sequence[int] = (1, 5, 20, 100),
    *,
    height: bool = True,
) -> list[Score]:
    """Rows for each class and each least number of points; all detections count.

    Raises:
        ValueError: an annotated frame does not say how many points there are.
    """
    if any(t.points is None for t in truth):
        raise ValueError("by_points: every annotated frame needs the points in its boxes.")
    matcher = _Matcher(truth, found, height)
    points = torch.cat([torch.as_tensor(t.points) for t in truth]).cpu().numpy()
    all_found = np.ones(matcher.found_count, bool)
    return [
        matcher.score(name, f"{number}+ points", limit, points >= number, all_found)
        for name, limit in overlaps.items()
        for number in least
    ]


class _Matcher:
    """Overlaps of all pairs, computed once; `score` matches one class."""

    def __init__(self, truth: Sequence[Objects], found: Sequence[Objects], height: bool):
        if len(truth) != len(found):
            raise ValueError(f"plain AP: {len(truth)} annotated frames, {len(found)} with detections.")
        counts, found_counts = [len(t.names) for t in truth], [len(f.names) for f in found]
        self.truth_count, self.found_count = sum(counts), sum(found_counts)
        self.frames = frame_numbers(found_counts)
        self.names, self.found_names = _names(truth), _names(found)
        self.boxes, self.found_boxes = _boxes(truth), _boxes(found)
        if any(f.scores is None for f in found):
            raise ValueError("plain AP: detections need scores.")
        scores = [f.scores.detach().cpu().double() for f in found if f.scores is not None]
        self.scores = torch.cat(scores).numpy() if scores else np.zeros(0)
        columns, rows = frame_pairs(found_counts, counts)
        same = self.found_names[columns] == self.names[rows]
        columns, rows = columns[same], rows[same]
        a, b = self.found_boxes[columns], self.boxes[rows]
        value = (iou_3d if height else bev_iou)(a, b).numpy() if len(a) else np.zeros(0)
        some = value > 0
        self.columns, self.rows, self.value = columns[some], rows[some], value[some]

    def distances(self) -> tuple[Floats, Floats]:
        """Of objects and detections from the sensor, seen from above."""
        own, others = (boxes[:, :2].norm(dim=1).numpy() for boxes in (self.boxes, self.found_boxes))
        return own, others

    def score(
        self, name: str, group: str, limit: float, counts: NDArray[np.bool_], found_counts: NDArray[np.bool_]
    ) -> Score:
        own = np.flatnonzero(self.found_names == name)
        order = own[np.argsort(-self.scores[own], kind="stable")]
        hit, ignored = self._match(order, limit, counts)
        objects = int((counts & (self.names == name)).sum())
        wrong = ~hit & ~ignored & found_counts[order]
        judged = hit | wrong
        precision, recall = cumulative(hit[judged], wrong[judged], objects)
        precision = envelope(precision)
        if objects:
            steps = np.diff(recall, prepend=0)
            # Recalls a rounding below the position have reached it.
            at = np.searchsorted(recall, np.arange(1, 41) / 40 - 1e-9)
            area, r40 = (precision * steps).sum(), np.append(precision, 0)[at].mean()
            last = recall[-1] if len(recall) else 0.0
        else:
            area = r40 = last = np.nan
        return Score(
            name, group, limit, objects, int(judged.sum()), 100 * area, 100 * r40, 100 * last, precision, recall
        )

    def _match(self, order: Ints, limit: float, counts: NDArray[np.bool_]) -> tuple[NDArray, NDArray]:
        """For detections by falling score: found an object that counts, found another one."""
        hit, ignored = np.zeros(len(order), bool), np.zeros(len(order), bool)
        position = np.full(self.found_count, -1)
        position[order] = np.arange(len(order))
        match = (self.value > limit) & (position[self.columns] >= 0)
        by_score = np.argsort(position[self.columns[match]], kind="stable")
        rows, value = self.rows[match][by_score], np.append(self.value[match][by_score], 0)
        places, candidates, number = table(position[self.columns[match][by_score]], rows, self.truth_count)
        taken, preferred = np.zeros(self.truth_count + 1, bool), np.append(counts, False)
        taken[-1] = True
        for turn in turns(self.frames[order[places]]):
            options = candidates[turn]
            rank = np.where(taken[options], -1, value[number[turn]] + 2 * preferred[options])
            chosen = np.take_along_axis(options, rank.argmax(1)[:, None], 1)[:, 0]
            free = ~taken[chosen]
            taken[chosen[free]] = True
            hit[places[turn]], ignored[places[turn]] = free & preferred[chosen], free & ~preferred[chosen]
        return hit, ignored


def _names(frames: Sequence[Objects]) -> NDArray[np.str_]:
    return np.array([name for frame in frames for name in frame.names], dtype=np.str_)


def _boxes(frames: Sequence[Objects]) -> Tensor:
    """(M, 7) float64."""
    return torch.cat(
        [torch.zeros(0, 7, dtype=torch.float64), *(f.boxes[:, :7].detach().cpu().double() for f in frames)]
    )
