"""nuScenes' scores against the devkit's."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from apps.pointcloud.boxes import heading_of
from apps.pointcloud.metrics.nuscenes import CLASSES, NuscenesBoxes, evaluate

GOLDEN = Path(__file__).parents[3] / "golden/pointcloud_metrics"


def sample(rows: list[dict]) -> NuscenesBoxes:
    def column(name: str, *shape: int) -> np.ndarray:
        return np.array([row.get(name, 0.0) for row in rows], dtype=np.float64).reshape(len(rows), *shape)

    quaternions = torch.from_numpy(column("rotation", 4))
    speeds = [[math.nan if v is None else v for v in (row["velocity"] or [None] * 2)] for row in rows]
    names, attributes = ([row[key] for row in rows] for key in ("detection_name", "attribute_name"))
    return NuscenesBoxes(
        column("translation", 3), column("size", 3), heading_of(quaternions).numpy(),
        np.array(speeds, dtype=np.float64).reshape(-1, 2), np.array(names, np.str_), np.array(attributes, np.str_),
        column("num_pts"), column("detection_score"), np.zeros(2),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["nuscenes_main", "nuscenes_small"])
def test_goldens(name):
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    expected = golden["expected"]
    found = evaluate(
        [sample(rows) for rows in golden["gt"].values()], [sample(golden["pred"].get(key, [])) for key in golden["gt"]]
    )
    assert found.nds == pytest.approx(expected["nd_score"], abs=1e-6)
    assert found.mean_ap == pytest.approx(expected["mean_ap"], abs=1e-6)
    assert found.errors == pytest.approx(expected["tp_errors"], abs=1e-6)
    for label in CLASSES:
        aps = {float(key): value for key, value in expected["label_aps"][label].items()}
        assert found.label_aps[label] == pytest.approx(aps, abs=1e-6)
        errors = {k: math.nan if v is None else v for k, v in expected["label_tp_errors"][label].items()}
        assert found.label_errors[label] == pytest.approx(errors, abs=1e-6, nan_ok=True)


def test_perfect_detections_beside_absent_classes():
    rows = [
        {"translation": [float(n), 0, 0], "size": [2.0, 4, 1.5], "rotation": [1, 0, 0, 0], "velocity": [1.0, 0],
         "num_pts": 5, "detection_name": "car", "attribute_name": "a", "detection_score": 0.9}
        for n in range(0, 60, 10)
    ]  # fmt: skip
    scores = evaluate([sample(rows)], [sample(rows)])
    # The last car is 50 m away and is not evaluated.
    assert scores.objects["car"] == 5 and scores.objects["bus"] == 0
    assert all(value == pytest.approx(1) for value in scores.label_aps["car"].values())
    assert all(value == pytest.approx(0) for value in scores.label_errors["car"].values())
    assert scores.mean_ap == pytest.approx(0.1)


def test_nothing_and_too_much():
    empty = sample([])
    scores = evaluate([empty], [empty])
    assert scores.nds == 0 and scores.mean_ap == 0
    row = {"translation": [0.0] * 3, "size": [1.0] * 3, "rotation": [1, 0, 0, 0], "velocity": None,
           "detection_name": "car", "attribute_name": "", "detection_score": 0.1}  # fmt: skip
    with pytest.raises(ValueError, match="501 detections; at most 500"):
        evaluate([empty], [sample([row] * 501)])
    with pytest.raises(ValueError, match="2 annotated samples, 1"):
        evaluate([empty, empty], [empty])


def test_what_is_found_in_a_rack_is_not_wrong():
    def bicycle(x: float, score: float) -> dict:
        return {"translation": [x, 0.0, 0], "size": [0.6, 1.8, 1.2], "rotation": [1, 0, 0, 0], "velocity": None,
                "num_pts": 5, "detection_name": "bicycle", "attribute_name": "", "detection_score": score}  # fmt: skip

    truth = sample([bicycle(10, 0), bicycle(20, 0)])
    found = sample([bicycle(10, 0.5), bicycle(21, 0.9), bicycle(20, 0.8)])
    racked = truth._replace(racks=np.array([[20.5, 0, 0, 4, 2, 2, 0]]))
    assert evaluate([racked], [found]).label_aps["bicycle"][0.5] == pytest.approx(1)
    assert evaluate([truth], [found]).label_aps["bicycle"][0.5] < 0.7
