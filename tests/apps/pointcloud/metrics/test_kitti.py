"""KITTI's evaluation against the official numbers and against the loops that define it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from apps.pointcloud.iou import bev_iou, iou_3d
from apps.pointcloud.labels import KittiLabels
from apps.pointcloud.metrics.kitti import LOOSE, STRICT, evaluate, score_thresholds

GOLDEN = Path(__file__).parents[3] / "golden/pointcloud_metrics"
OFFICIAL = {"2d": "bbox", "bev": "bev", "3d": "3d", "aos": "aos"}


def frame(rows: list[dict]) -> KittiLabels:
    def column(name: str, *shape: int) -> np.ndarray:
        return np.array([row[name] for row in rows], dtype=np.float64).reshape(len(rows), *shape)

    names = np.array([row["name"] for row in rows], dtype=np.str_)
    scores = np.array([row.get("score", 1.0) for row in rows], dtype=np.float64)
    return KittiLabels(
        names, column("truncated"), column("occluded"), column("alpha"), column("bbox", 4), column("hwl", 3),
        column("location", 3), column("rotation_y"), scores,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:KITTI AP")
@pytest.mark.parametrize("name", ["kitti_main", "kitti_edges", "kitti_car_only"])
def test_goldens(name):
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    truth, found = ([frame(rows) for rows in golden[side]] for side in ("gt", "dt"))
    classes = list(dict.fromkeys(key.split("/")[0] for key in golden["expected"]))
    compared = 0
    for label, overlaps in (("strict", STRICT), ("loose", LOOSE)):
        for row in evaluate(truth, found, classes, overlaps):
            measure = OFFICIAL[row.measure]
            for suffix, values in (("", row.r11), ("_R40", row.r40)):
                expected = golden["expected"][f"{row.name}/{measure}{suffix}/{label}"]
                # The files are rounded to 1e-6.
                assert np.abs(values - expected).max() < 1e-6, (row.name, measure, label)
                compared += 1
            if label == "strict":
                expected = golden["expected_precision_strict"][measure][classes.index(row.name)]
                assert np.abs(row.precision - expected).max() < 1e-6
    assert compared == len(golden["expected"])


def some_frames(count: int, seed: int) -> tuple[list[dict], list[dict]]:
    """Crowded frames with ties, wrong classes, low boxes and DontCare."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(count):
        own, others = [], []
        for _ in range(rng.integers(0, 7)):
            x, z = rng.uniform(-4, 4), rng.uniform(10, 16)
            name = rng.choice(["Car", "Car", "Car", "Van", "DontCare"])
            top = rng.uniform(100, 120)
            high = rng.choice([24, 25, 30, 40, 60])
            row = {
                "name": str(name), "truncated": float(rng.choice([0, 0.2, 0.4])), "occluded": float(rng.integers(0, 4)),
                "alpha": rng.uniform(-3, 3), "bbox": [100 * x, top, 100 * x + 80, top + high],
                "hwl": [1.5, 1.6, 3.9], "location": [x, 1.7, z], "rotation_y": rng.uniform(-3, 3),
            }  # fmt: skip
            own.append(row)
            for _ in range(rng.integers(0, 4)):
                moved = dict(row, score=float(rng.integers(1, 8)) / 8, name=str(rng.choice(["Car", "Car", "Cyclist"])))
                shift = rng.normal(0, 0.3, 2)
                moved["location"] = [x + shift[0], 1.7, z + shift[1]]
                moved["bbox"] = [b + rng.normal(0, 2) for b in row["bbox"]]
                moved["alpha"] = row["alpha"] + rng.normal(0, 1)
                others.append(moved)
        truth.append(own)
        found.append(others)
    return truth, found


def image_iou(a, b):
    w, h = (min(a[n + 2], b[n + 2]) - max(a[n], b[n]) for n in range(2))
    shared = max(w, 0) * max(h, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared), shared


def upright(row):
    (x, y, z), (h, w, length) = row["location"], row["hwl"]
    return torch.tensor([[x, z, h / 2 - y, length, w, h, -row["rotation_y"]]], dtype=torch.float64)


def by_loops(truth, found, measure, limit, difficulty):
    """The definition, a frame, a threshold and an object at a time: precision and similarity at the 41 positions."""
    least, occlusion, truncation = (40, 25, 25)[difficulty], difficulty, (0.15, 0.3, 0.5)[difficulty]
    overlap = {
        "2d": lambda t, f: image_iou(t["bbox"], f["bbox"])[0],
        "bev": lambda t, f: bev_iou(upright(t), upright(f)).item(),
        "3d": lambda t, f: iou_3d(upright(t), upright(f)).item(),
    }[measure]
    frames = []
    for own, others in zip(truth, found, strict=True):
        status = []
        for t in own:
            high = t["bbox"][3] - t["bbox"][1]
            hard = t["occluded"] > occlusion or t["truncated"] > truncation or high <= least
            status.append({"Car": int(hard), "Van": 1}.get(t["name"], -1))
        kinds = [1 if f["bbox"][3] - f["bbox"][1] < least else 0 if f["name"] == "Car" else -1 for f in others]
        matrix = [[overlap(t, f) if t["name"] != "DontCare" else 0.0 for f in others] for t in own]
        frames.append((own, others, status, kinds, matrix))

    def run(threshold, final):
        tp = fp = similar = 0
        scores = []
        for own, others, status, kinds, matrix in frames:
            used = set()
            for i, t in enumerate(own):
                if status[i] < 0:
                    continue
                free = [
                    j
                    for j, f in enumerate(others)
                    if kinds[j] >= 0 and j not in used and matrix[i][j] > limit and f["score"] >= threshold
                ]
                if not free:
                    continue
                if not final:
                    j = max(free, key=lambda j: (others[j]["score"], -j))
                elif any(kinds[j] == 0 for j in free):
                    j = max((j for j in free if kinds[j] == 0), key=lambda j: (matrix[i][j], -j))
                else:
                    j = free[0]
                used.add(j)
                if status[i] == 0 and kinds[j] == 0:
                    tp += 1
                    scores.append(others[j]["score"])
                    similar += (1 + math.cos(t["alpha"] - others[j]["alpha"])) / 2
            for j, f in enumerate(others):
                if j in used or kinds[j] != 0 or f["score"] < threshold:
                    continue
                area = (f["bbox"][2] - f["bbox"][0]) * (f["bbox"][3] - f["bbox"][1])
                regions = [t for t in own if t["name"] == "DontCare"]
                if measure == "2d" and any(image_iou(t["bbox"], f["bbox"])[1] / area > limit for t in regions):
                    continue
                fp += 1
        return tp, fp, similar, scores

    objects = sum(s == 0 for frame in frames for s in frame[2])
    precision, similarity = np.zeros(41), np.zeros(41)
    for n, threshold in enumerate(score_thresholds(np.array(run(-1, False)[3]), objects) if objects else []):
        tp, fp, similar, _ = run(threshold, True)
        precision[n], similarity[n] = tp / max(tp + fp, 1), similar / max(tp + fp, 1)
    return tuple(np.array([curve[n:].max() for n in range(41)]) for curve in (precision, similarity))


@pytest.mark.filterwarnings("ignore:KITTI AP")
def test_equal_to_the_loops():
    truth, found = some_frames(24, 0)
    rows = {row.measure: row for row in evaluate([frame(t) for t in truth], [frame(f) for f in found], ["Car"])}
    for difficulty in range(3):
        for measure in ("2d", "bev", "3d"):
            precision, similarity = by_loops(truth, found, measure, 0.7, difficulty)
            assert precision.any()
            assert np.abs(rows[measure].precision[difficulty] - precision).max() < 1e-12
            if measure == "2d":
                assert np.abs(rows["aos"].precision[difficulty] - similarity).max() < 1e-12


def car(x: float, **more) -> dict:
    return {
        "name": "Car", "truncated": 0.0, "occluded": 0.0, "alpha": -10.0, "bbox": [x, 0.0, x + 50, 60.0],
        "hwl": [1.5, 1.6, 3.9], "location": [x, 1.7, 20.0], "rotation_y": 0.0, "score": 0.5, **more,
    }  # fmt: skip


def test_perfect_detection_of_few_objects_is_capped_and_says_so():
    frames = [frame([car(100.0 * n) for n in range(5)]) for _ in range(4)]
    with pytest.warns(UserWarning, match=r"AP of Car on 20 objects: perfect detection scores 47\.5"):
        rows = evaluate(frames, frames, ["Car"])
    # No orientation: alpha is unknown.
    assert [row.measure for row in rows] == ["2d", "bev", "3d"]
    assert rows[2].r40.tolist() == pytest.approx([47.5] * 3) and rows[2].objects.tolist() == [20] * 3


def test_many_objects_are_not_warned_of(recwarn):
    frames = [frame([car(100.0 * n, score=n / 10) for n in range(5)]) for _ in range(9)]
    rows = evaluate(frames, frames, ["Car"])
    assert not recwarn.list and rows[0].caution is None and rows[0].r40.tolist() == pytest.approx([100] * 3)


@pytest.mark.filterwarnings("ignore:KITTI AP")
def test_nothing_found_nothing_there():
    full, empty = frame([car(0.0)]), frame([])
    assert not evaluate([full, full], [empty, empty], ["Car"])[0].precision.any()
    assert not evaluate([empty, empty], [full, empty], ["Car"])[0].precision.any()
    assert not evaluate([empty], [empty], ["Car"])[0].precision.any()
    with pytest.raises(ValueError, match="2 annotated frames, 1 with detections"):
        evaluate([full, full], [full])
