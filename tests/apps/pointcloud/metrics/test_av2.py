"""Argoverse 2's scores against the official package's."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from apps.pointcloud.boxes import heading_of
from apps.pointcloud.metrics.av2 import CATEGORIES, Av2Boxes, evaluate

GOLDEN = Path(__file__).parents[3] / "golden/pointcloud_metrics/av2_main.json"


def sweep(rows: list[list]) -> Av2Boxes:
    numbers = np.array([row[3:9] for row in rows], dtype=np.float64).reshape(-1, 6)
    quaternions = torch.tensor([row[9:13] for row in rows], dtype=torch.float64).reshape(-1, 4)
    last = np.array([row[13] for row in rows], dtype=np.float64)
    names = np.array([row[2] for row in rows], np.str_)
    return Av2Boxes(numbers[:, :3], numbers[:, 3:], heading_of(quaternions).numpy(), names, last, last)


def test_golden():
    golden = json.loads(GOLDEN.read_text())
    keys = sorted({(row[0], row[1]) for row in golden["gt"] + golden["dt"]})
    truth, found = (
        [sweep([row for row in golden[side] if (row[0], row[1]) == key]) for key in keys] for side in ("gt", "dt")
    )
    rows = {row.name: row for row in evaluate(truth, found)}
    assert set(rows) == set(golden["expected"])
    for name, expected in golden["expected"].items():
        # The package rounds to three decimals.
        assert np.abs(np.array(rows[name][1:6]) - expected).max() < 5.01e-4, name


def car(x: float, score: float, name: str = "REGULAR_VEHICLE") -> list:
    return ["log", 0, name, x, 0.0, 0.0, 4.0, 2.0, 1.5, 1.0, 0, 0, 0, score]


def test_one_chance_for_each_object():
    truth = [sweep([car(0.0, 5), car(10.0, 5)])]
    # The best detection that points to the first car is 3 m away: right at 4 m alone; the exact one has no chance.
    found = [sweep([car(3.0, 0.9), car(0.0, 0.8), car(10.0, 0.7)])]
    row = evaluate(truth, found)[CATEGORIES.index("REGULAR_VEHICLE")]
    at_4, below = (1 + 2 / 3) / 2, 1 / 3 / 2
    assert row.ap == pytest.approx((at_4 + 3 * below) / 4, abs=0.02) and row.objects == 2
    assert (row.ate, row.ase, row.aoe) == (0, 0, 0)


def test_nothing_counts_with_the_worst_values():
    rows = evaluate([sweep([])], [sweep([])])
    assert len(rows) == 27 and rows[-1][1:6] == pytest.approx((0, 2, 1, math.pi, 0))
    far = [sweep([car(151.0, 5)])]
    assert evaluate(far, far)[-1].objects == 0
    with pytest.raises(ValueError, match="1 annotated sweeps, 2"):
        evaluate(far, far * 2)
