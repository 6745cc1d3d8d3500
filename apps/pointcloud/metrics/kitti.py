"""KITTI's average precision in the image, seen from above and in space, and its orientation similarity.

Geiger, Lenz and Urtasun 2012, with the 40 recall positions of Simonelli et al. 2019, equal to the official evaluation
to rounding. An object counts at a difficulty if it is high enough in the image and not too occluded or truncated:

    easy 40 pixels, occlusion 0, truncation .15;  moderate 25, 1, .30;  hard 25, 2, .50

Others of its class, and Van for Car and Person_sitting for Pedestrian, are ignored: finding them is neither right nor
wrong. A detection lower than the height is ignored whatever its class is, and may thereby use an object up (so the
official code does it). Overlaps must be above .7 for Car and .5 for Pedestrian and Cyclist (strict), or from above and
in space above .5 and .25 (loose).

Precision is taken at score thresholds of 41 recall positions, made non-increasing, and averaged over positions 0, 4, ..
40 (R11) or 1 .. 40 (R40). **With N objects at most N of the positions are filled**: perfect detection of N = 20 objects
scores 47.5, not 100. Rows of fewer than 41 objects say so (`caution`); `plain.py` has an AP without that trap, and
without image boxes.

All thresholds and all frames are matched at once, a turn for the n-th object of every frame.
"""

__all__ = ["ALIKE", "LOOSE", "STRICT", "KittiRow", "evaluate", "score_thresholds"]

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from apps.pointcloud.iou import bev_iou, iou_3d
from apps.pointcloud.labels import DONT_CARE, KittiLabels

from .matching import Floats, Ints, envelope, frame_numbers, frame_pairs, table, turns

HEIGHT, OCCLUSION, TRUNCATION = (40, 25, 25), (0, 1, 2), (0.15, 0.3, 0.5)
ALIKE = {"Car": "Van", "Pedestrian": "Person_sitting"}
STRICT = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}
LOOSE = {"Car": 0.5, "Pedestrian": 0.25, "Cyclist": 0.25}
"""Seen from above and in space; in the image the strict ones hold."""
POSITIONS = 41


class KittiRow(NamedTuple):
    """One class and measure, at the three difficulties.

    Attributes:
        name: of the class.
        measure: "2d", "bev", "3d" or "aos".
        overlap: above which a detection finds an object.
        objects: (3,) that count.
        r11, r40: (3,) percent.
        precision: (3, 41) at the recall positions, or the orientation similarity in its place.
    """

    name: str
    measure: str
    overlap: float
    objects: Ints
    r11: Floats
    r40: Floats
    precision: Floats

    @property
    def caution(self) -> str | None:
        """A sentence where the objects are too few for the number to be read as accuracy."""
        fewest = int(self.objects.min())
        if fewest >= POSITIONS:
            return None
        best = 100 * max(0, min(fewest - 1, 40)) / 40
        return (
            f"KITTI AP of {self.name} on {fewest} objects: perfect detection scores {best:g} (R40); read the plain AP "
            f"unless there are at least {POSITIONS}."
        )


class _Overlaps(NamedTuple):
    """Pairs of an object and a detection of one frame that overlap, sorted by object and then detection."""

    truth: Ints
    found: Ints
    value: Floats


def evaluate(
    truth: Sequence[KittiLabels],
    found: Sequence[KittiLabels],
    classes: Sequence[str] = ("Car", "Pedestrian", "Cyclist"),
    overlaps: Mapping[str, float] = STRICT,
    image_overlaps: Mapping[str, float] = STRICT,
) -> list[KittiRow]:
    """A row for each class and measure; orientation similarity only if the first detection's alpha is known (not -10).

    Args:
        truth: annotations of each frame, DontCare among them.
        found: detections of each frame, in the same order.
        classes: what to evaluate.
        overlaps: of a detection seen from above and in space, for each class; `LOOSE` for the forgiving ones.
        image_overlaps: in the image.

    Raises:
        ValueError: there are not as many frames of both.

    Warns:
        UserWarning: a class has fewer than 41 objects.
    """
    if len(truth) != len(found):
        raise ValueError(f"kitti.evaluate: {len(truth)} annotated frames, {len(found)} with detections.")
    counts, found_counts = [t.count for t in truth], [f.count for f in found]
    objects, detections = _joined(truth), _joined(found)
    found_frames = frame_numbers(found_counts)
    rows, columns = frame_pairs(counts, found_counts)
    care = objects.names != DONT_CARE
    region, other = rows[~care[rows]], columns[~care[rows]]
    rows, columns = rows[care[rows]], columns[care[rows]]
    shared, sizes = _image_overlap(objects.bbox[rows], detections.bbox[columns])
    flat, solid = _spatial(objects, detections, rows, columns)
    measures = {
        "2d": _positive(rows, columns, shared / np.maximum(sizes, 1e-300)),
        "bev": _positive(rows, columns, flat),
        "3d": _positive(rows, columns, solid),
    }
    # Of each detection, the largest part of it that a DontCare region covers.
    shared, _ = _image_overlap(objects.bbox[region], detections.bbox[other])
    area = np.maximum(np.prod(detections.bbox[other, 2:] - detections.bbox[other, :2], axis=1), 1e-300)
    unjudged = np.zeros(len(detections.names))
    np.maximum.at(unjudged, other, shared / area)
    frames = frame_numbers(counts)
    angles = bool(len(found_frames)) and detections.alpha[0] != -10
    result = []
    for name in classes:
        curves: dict[str, list[Floats]] = {measure: [] for measure in ("2d", "bev", "3d", "aos")}
        numbers = []
        for difficulty in range(3):
            status = _truth_status(objects, name, difficulty)
            found_status = _found_status(detections, name, difficulty)
            numbers.append(int((status == 0).sum()))
            for measure, pairs in measures.items():
                limit = (image_overlaps if measure == "2d" else overlaps)[name]
                hidden = unjudged > limit if measure == "2d" else np.zeros(len(unjudged), bool)
                precision, similarity = _curve(
                    pairs, limit, status, found_status, frames, objects.alpha, detections, hidden
                )
                curves[measure].append(precision)
                if measure == "2d" and angles:
                    curves["aos"].append(similarity)
        for measure, curve in curves.items():
            if curve:
                limit = (image_overlaps if measure in ("2d", "aos") else overlaps)[name]
                result.append(_row(name, measure, limit, np.array(numbers), np.stack(curve)))
    for caution in dict.fromkeys(row.caution for row in result if row.caution):
        warnings.warn(caution, stacklevel=2)
    return result


def score_thresholds(scores: Floats, objects: int) -> Floats:
    """Scores at which recall passes the 41 positions 0, 1/40 .. 1, of the scores of what was found.

    Args:
        scores: (K,) of detections that found one of the objects.
        objects: how many there are.
    """
    scores = np.sort(scores)[::-1]
    kept, position = [], 0.0
    for n, value in enumerate(scores):
        left, right = (n + 1) / objects, (min(n + 2, len(scores))) / objects
        if right - position < position - left and n < len(scores) - 1:
            continue
        kept.append(value)
        position += 1 / (POSITIONS - 1)
    return np.array(kept)


def _row(name: str, measure: str, overlap: float, objects: Ints, precision: Floats) -> KittiRow:
    r11, r40 = 100 * precision[:, ::4].mean(1), 100 * precision[:, 1:].mean(1)
    return KittiRow(name, measure, overlap, objects, r11, r40, precision)


def _joined(frames: Sequence[KittiLabels]) -> KittiLabels:
    """All frames as one."""
    if not frames:
        raise ValueError("kitti.evaluate: there are no frames.")
    return KittiLabels(*(np.concatenate(columns) for columns in zip(*map(tuple, frames), strict=True)))


def _positive(rows: Ints, columns: Ints, value: Floats) -> _Overlaps:
    some = value > 0
    return _Overlaps(rows[some], columns[some], value[some])


def _image_overlap(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Common and united areas (P,) of pairs of image boxes."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    shared = np.prod(np.clip(sides, 0, None), axis=1)
    return shared, np.prod(a[:, 2:] - a[:, :2], axis=1) + np.prod(b[:, 2:] - b[:, :2], axis=1) - shared


def _spatial(truth: KittiLabels, found: KittiLabels, rows: Ints, columns: Ints) -> tuple[Floats, Floats]:
    """IoU (P,) from above and in space."""
    sides = []
    for labels, index in ((truth, rows), (found, columns)):
        x, y, z = labels.location[index].T
        h, w, length = labels.hwl[index].T
        # Camera axes with z for y and up for down are like a LiDAR's.
        sides.append(np.stack([x, z, h / 2 - y, length, w, h, -labels.rotation_y[index]], 1))
    a, b = sides
    flat, solid = np.zeros(len(rows)), np.zeros(len(rows))
    near = np.hypot(a[:, 0] - b[:, 0], a[:, 1] - b[:, 1]) <= (
        np.hypot(a[:, 3], a[:, 4]) + np.hypot(b[:, 3], b[:, 4])
    ) / 2 + 1e-9  # fmt: skip
    if near.any():
        first, second = torch.from_numpy(a[near]), torch.from_numpy(b[near])
        flat[near], solid[near] = bev_iou(first, second).numpy(), iou_3d(first, second).numpy()
    return flat, solid


def _truth_status(labels: KittiLabels, name: str, difficulty: int) -> Ints:
    """(N,) 0 counts, 1 ignored, -1 not of this class."""
    height = labels.bbox[:, 3] - labels.bbox[:, 1]
    hard = (
        (labels.occluded > OCCLUSION[difficulty])
        | (labels.truncated > TRUNCATION[difficulty])
        | (height <= HEIGHT[difficulty])
    )
    names = np.char.lower(labels.names) if len(labels.names) else labels.names
    own, alike = names == name.lower(), names == ALIKE.get(name, name).lower()
    return np.where(own, hard.astype(np.int64), np.where(alike, 1, -1))


def _found_status(labels: KittiLabels, name: str, difficulty: int) -> Ints:
    """(N,) as of the objects; a low one is ignored before its class is looked at."""
    low = np.abs(labels.bbox[:, 3] - labels.bbox[:, 1]) < HEIGHT[difficulty]
    names = np.char.lower(labels.names) if len(labels.names) else labels.names
    return np.where(low, 1, np.where(names == name.lower(), 0, -1))


def _curve(
    pairs: _Overlaps,
    limit: float,
    status: Ints,
    found_status: Ints,
    frames: Ints,
    angles: Floats,
    detections: KittiLabels,
    hidden: NDArray[np.bool_],
) -> tuple[Floats, Floats]:
    """Precision and orientation similarity (41,)."""
    nothing = np.zeros(POSITIONS)
    objects = int((status == 0).sum())
    match = (pairs.value > limit) & (status[pairs.truth] >= 0) & (found_status[pairs.found] >= 0)
    value = np.append(pairs.value[match], 0)
    number = len(found_status)
    rows, columns, place = table(pairs.truth[match], pairs.found[match], number)
    counts = status[rows] == 0
    # A detection more, at the end, that is always taken: what fills the table up.
    score, kind = np.append(detections.score, -np.inf), np.append(found_status, -1)
    schedule = list(turns(frames[rows]))

    taken = np.zeros(number + 1, bool)
    taken[-1] = True
    hits = []
    for turn in schedule:
        candidates = columns[turn]
        rank = np.where(taken[candidates], -np.inf, score[candidates])
        best = rank.argmax(1)[:, None]
        chosen = np.take_along_axis(candidates, best, 1)[:, 0]
        free = ~taken[chosen]
        taken[chosen[free]] = True
        hits.append(score[chosen[free & counts[turn] & (kind[chosen] == 0)]])
    scores = np.concatenate(hits) if hits else np.zeros(0)
    if not len(scores):
        return nothing, nothing.copy()
    thresholds = score_thresholds(scores, objects)

    above = score[:-1, None] >= thresholds
    used = np.ones((number + 1, len(thresholds)), bool)
    used[:-1] = ~above
    tp, similar = np.zeros(len(thresholds)), np.zeros(len(thresholds))
    at = np.arange(len(thresholds))
    for turn in schedule:
        candidates = columns[turn]
        # The largest overlap; an ignored detection only where there is no other, then the first.
        rank = np.where(kind[candidates] == 0, value[place[turn]], 1e-9)[..., None]
        rank = np.where(used[candidates], -1, rank)
        chosen = np.take_along_axis(candidates[..., None], rank.argmax(1)[:, None], 1)[:, 0]
        free = rank.max(1) > 0
        used[chosen[free], np.broadcast_to(at, free.shape)[free]] = True
        right = free & counts[turn][:, None] & (kind[chosen] == 0)
        tp += right.sum(0)
        apart = angles[rows[turn]][:, None] - np.append(detections.alpha, 0)[chosen]
        similar += np.where(right, (1 + np.cos(apart)) / 2, 0).sum(0)
    wrong = (~used[:-1] & ((found_status == 0) & ~hidden)[:, None]).sum(0)
    both = np.maximum(tp + wrong, 1)
    precision, similarity = nothing, nothing.copy()
    precision[: len(thresholds)], similarity[: len(thresholds)] = tp / both, similar / both
    return envelope(precision), envelope(similarity)
