"""AP of boxes alone."""

import math

import numpy as np
import pytest
import torch

from apps.pointcloud.iou import iou_3d
from apps.pointcloud.metrics.plain import Objects, average_precision, by_points, by_range


def objects(xs: list[float], scores: list[float] | None = None, names: list[str] | None = None, points=None) -> Objects:
    boxes = torch.tensor([[x, 0, 0, 4, 2, 1.5, 0] for x in xs]).reshape(-1, 7)
    given = None if scores is None else torch.tensor(scores)
    return Objects(boxes, names or ["Car"] * len(xs), given, None if points is None else torch.tensor(points))


def test_by_hand():
    truth = [objects([10.0, 20]), objects([10.0, 40])]
    # By score: right, wrong (nothing there), right, wrong (the object is found already), right; one is never found.
    found = [objects([10.0, 30, 20.1], [0.9, 0.8, 0.7]), objects([10.2, 10.0], [0.6, 0.5])]
    found[1] = objects([10.0, 10.2], [0.65, 0.6])
    (row,) = average_precision(truth, found, {"Car": 0.7})
    assert (row.objects, row.detections, row.recall) == (4, 5, 75)
    # Precisions 1, 1/2, 2/3, 3/4, 3/5 at recalls 1/4, 1/4, 2/4, 3/4, 3/4.
    assert row.ap == pytest.approx(100 * (1 + 0.75 + 0.75) / 4)
    assert row.r40 == pytest.approx(100 * (10 + 20 * 0.75) / 40)


def test_perfect_detection_of_few_objects_scores_100():
    frames = [objects([5.0, 15], [0.5, 0.5]), objects([], [])]
    (row,) = average_precision(frames, frames, {"Car": 0.7})
    assert (row.ap, row.r40, row.recall) == (100, 100, 100)


def test_equal_to_a_loop_over_detections():
    gen = torch.Generator().manual_seed(0)
    truth, found = [], []
    for _ in range(20):
        number, others = (int(torch.randint(0, 8, (1,), generator=gen)) for _ in range(2))
        r = torch.rand(number + others, 7, generator=gen, dtype=torch.float64)
        boxes = torch.cat([r[:, :2] * 4, r[:, 2:3], r[:, 3:6] * 2 + 1, r[:, 6:] * 6], 1)
        names = ["Car" if flag else "Cyclist" for flag in (torch.rand(number + others, generator=gen) < 0.7).tolist()]
        scores = (torch.rand(others, generator=gen) * 5).round() / 5
        truth.append(Objects(boxes[:number], names[:number]))
        found.append(Objects(boxes[number:], names[number:], scores))
    for row in average_precision(truth, found, {"Car": 0.05, "Cyclist": 0.05}):
        flat = [
            (-f.scores[n].item(), frame, n)
            for frame, f in enumerate(found)
            for n in range(len(f.names))
            if f.names[n] == row.name
        ]
        used, hits = set(), []
        for _, frame, n in sorted(flat):
            best, which = 0.05, None
            for m, name in enumerate(truth[frame].names):
                if name == row.name and (frame, m) not in used:
                    value = iou_3d(found[frame].boxes[n : n + 1], truth[frame].boxes[m : m + 1]).item()
                    if value > best:
                        best, which = value, (frame, m)
            used.add(which)
            hits.append(which is not None)
        total = sum(t.names.count(row.name) for t in truth)
        tp = np.cumsum(hits)
        precision = [max((tp / np.arange(1, len(hits) + 1))[n:]) for n in range(len(hits))]
        area = sum(p / total for p, hit in zip(precision, hits, strict=True) if hit)
        assert sum(hits) > 2
        assert row.ap == pytest.approx(100 * area) and row.recall == pytest.approx(100 * sum(hits) / total)


def test_rings():
    truth = [objects([10.0, 40, 60])]
    found = [objects([10.0, 40, 80, 12], [0.9, 0.8, 0.7, 0.95])]
    rows = {row.group: row for row in by_range(truth, found, {"Car": 0.7}, (0, 30, 50, math.inf))}
    assert list(rows) == ["0-30 m", "30-50 m", "50+ m"]
    assert (rows["0-30 m"].ap, rows["0-30 m"].detections) == (50, 2)
    assert (rows["30-50 m"].ap, rows["30-50 m"].detections) == (100, 1)
    assert (rows["50+ m"].recall, rows["50+ m"].objects, rows["50+ m"].detections) == (0, 1, 1)


def test_points():
    truth = [objects([10.0, 40], points=[100, 3])]
    found = [objects([10.0, 40], [0.8, 0.9])]
    few, many = by_points(truth, found, {"Car": 0.7}, (1, 5))
    assert (few.objects, few.ap) == (2, 100) and (many.objects, many.detections, many.ap) == (1, 1, 100)
    with pytest.raises(ValueError, match="needs the points"):
        by_points(found, found, {"Car": 0.7})


def test_seen_from_above():
    high = objects([10.0], [1.0])
    high.boxes[:, 2] += 3
    truth = [objects([10.0])]
    assert average_precision(truth, [high], {"Car": 0.5})[0].ap == 0
    assert average_precision(truth, [high], {"Car": 0.5}, height=False)[0].ap == 100


def test_nothing():
    (row,) = average_precision([objects([])], [objects([1.0], [0.5])], {"Car": 0.5})
    assert math.isnan(row.ap) and row.objects == 0 and row.detections == 1
    (row,) = average_precision([objects([1.0])], [objects([], [])], {"Car": 0.5})
    assert (row.ap, row.recall) == (0, 0)
    (row,) = average_precision([], [], {"Car": 0.5})
    assert row.objects == 0
    with pytest.raises(ValueError, match="need scores"):
        average_precision([objects([1.0])], [objects([1.0])], {"Car": 0.5})
