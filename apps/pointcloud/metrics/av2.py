"""Argoverse 2's average precision and composite detection score (Wilson et al. 2021), as the av2 package computes them
without pruning by the map.

Of a sweep and category the 100 best detections within 150 m of the ego vehicle count, and objects within it with at
least one point. Each detection points to the nearest object, by the distance of the centres in space; of those that
point to one object the one with the highest score can be right, and is if it is nearer than d of .5, 1, 2 and 4 m.
There is no second choice. AP is the mean over d of the non-increasing precision at 101 recalls. Of those right at 2 m,

    ATE mean distance, ASE 1 - prod(min / max of the sides), AOE mean angle in [0, pi]
    CDS = AP mean(1 - ATE/2, 1 - ASE, 1 - AOE/pi)

with 2, 1 and pi where there are none. ASE is not the IoU of aligned boxes that nuScenes uses. Means are over all 26
categories, absent ones with the worst values. The package rounds to 3 decimals; here nothing is rounded.
"""

__all__ = ["CATEGORIES", "Av2Boxes", "Av2Row", "evaluate"]

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .matching import Floats, cumulative, envelope, frame_pairs

CATEGORIES = (
    "ARTICULATED_BUS", "BICYCLE", "BICYCLIST", "BOLLARD", "BOX_TRUCK", "BUS", "CONSTRUCTION_BARREL",
    "CONSTRUCTION_CONE", "DOG", "LARGE_VEHICLE", "MESSAGE_BOARD_TRAILER", "MOBILE_PEDESTRIAN_CROSSING_SIGN",
    "MOTORCYCLE", "MOTORCYCLIST", "PEDESTRIAN", "REGULAR_VEHICLE", "SCHOOL_BUS", "SIGN", "STOP_SIGN", "STROLLER",
    "TRUCK", "TRUCK_CAB", "VEHICULAR_TRAILER", "WHEELCHAIR", "WHEELED_DEVICE", "WHEELED_RIDER",
)  # fmt: skip
DISTANCES = (0.5, 1.0, 2.0, 4.0)
FARTHEST, MOST, RECALLS = 150.0, 100, 101


class Av2Boxes(NamedTuple):
    """Of one sweep, in ego axes.

    Attributes:
        centre: (M, 3).
        size: (M, 3) length, width, height.
        heading: (M,).
        names: (M,) categories.
        points: (M,) points in annotated boxes; anything in detections.
        score: (M,) of detections; anything in annotations.
    """

    centre: Floats
    size: Floats
    heading: Floats
    names: NDArray[np.str_]
    points: Floats
    score: Floats


class Av2Row(NamedTuple):
    """One category, or "AVERAGE_METRICS"; `objects` is how many count."""

    name: str
    ap: float
    ate: float
    ase: float
    aoe: float
    cds: float
    objects: int


def evaluate(truth: Sequence[Av2Boxes], found: Sequence[Av2Boxes]) -> list[Av2Row]:
    """A row for each of the 26 categories, then their mean.

    Args:
        truth, found: annotations and detections of each sweep, in the same order.

    Raises:
        ValueError: there are not as many sweeps of both.
    """
    if len(truth) != len(found):
        raise ValueError(f"av2.evaluate: {len(truth)} annotated sweeps, {len(found)} with detections.")
    rows = [_category(name, truth, found) for name in CATEGORIES]
    means = np.mean([row[1:6] for row in rows], axis=0).tolist()
    return [*rows, Av2Row("AVERAGE_METRICS", *means, sum(row.objects for row in rows))]


def _category(name: str, truth: Sequence[Av2Boxes], found: Sequence[Av2Boxes]) -> Av2Row:
    own = [_select(sweep, (sweep.names == name) & (sweep.points > 0)) for sweep in truth]
    others = []
    for sweep in found:
        chosen = _select(sweep, sweep.names == name)
        best = np.argsort(-chosen.score, kind="stable")[:MOST]
        others.append(Av2Boxes(*(column[best] for column in chosen)))
    objects = sum(len(sweep.names) for sweep in own)
    right, errors = _match(own, others)
    scores = np.concatenate([sweep.score for sweep in others]) if others else np.zeros(0)
    order = np.argsort(-scores, kind="stable")
    aps = [_average(right[d][order], objects) for d in range(len(DISTANCES))]
    ap = float(np.mean(aps)) if objects else 0.0
    ate, ase, aoe = errors if objects else (2.0, 1.0, np.pi)
    cds = ap * float(np.mean([1 - ate / 2, 1 - ase, 1 - aoe / np.pi]))
    return Av2Row(name, ap, ate, ase, aoe, cds, objects)


def _select(sweep: Av2Boxes, which: NDArray[np.bool_]) -> Av2Boxes:
    keep = which & (np.linalg.norm(sweep.centre, axis=1) <= FARTHEST)
    return Av2Boxes(*(column[keep] for column in sweep))


def _match(own: list[Av2Boxes], others: list[Av2Boxes]) -> tuple[NDArray[np.bool_], tuple[float, float, float]]:
    """(4, K): right at each distance; and the three errors at 2 m."""
    counts, found_counts = [len(t.names) for t in own], [len(f.names) for f in others]
    truth, found = _joined(own), _joined(others)
    number = len(found.names)
    right = np.zeros((len(DISTANCES), number), bool)
    columns, rows = frame_pairs(found_counts, counts)
    if not len(rows):
        return right, (2.0, 1.0, np.pi)
    away = np.linalg.norm(found.centre[columns] - truth.centre[rows], axis=1)
    # The nearest object of each detection, then of each object the detection with the highest score.
    nearest = np.lexsort((away, columns))
    first = nearest[np.unique(columns[nearest], return_index=True)[1]]
    columns, rows, away = columns[first], rows[first], away[first]
    best = np.lexsort((columns, -found.score[columns], rows))
    first = best[np.unique(rows[best], return_index=True)[1]]
    columns, rows, away = columns[first], rows[first], away[first]
    for n, distance in enumerate(DISTANCES):
        right[n, columns[away < distance]] = True
    close = away < 2.0
    if not close.any():
        return right, (2.0, 1.0, np.pi)
    a, b = truth.size[rows[close]], found.size[columns[close]]
    turn = truth.heading[rows[close]] - found.heading[columns[close]]
    angle = np.abs((turn + np.pi) % (2 * np.pi) - np.pi)
    size = 1 - (np.minimum(a, b) / np.maximum(a, b)).prod(1)
    return right, (float(away[close].mean()), float(size.mean()), float(angle.mean()))


def _average(right: NDArray[np.bool_], objects: int) -> float:
    if not right.any():
        return 0.0
    precision, recall = cumulative(right, ~right, objects)
    return float(np.interp(np.linspace(0, 1, RECALLS), recall, envelope(precision), right=0).mean())


def _joined(sweeps: list[Av2Boxes]) -> Av2Boxes:
    return Av2Boxes(*(np.concatenate(column) for column in zip(*sweeps, strict=True)))
