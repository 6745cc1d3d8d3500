"""Suppression against the release's choice and the definition."""

import json
import math
from pathlib import Path

import pytest
import torch

from apps.pointcloud import nms as module
from apps.pointcloud.nms import nms, nms_by_class, nms_reference

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/openpcdet/nms.json").read_text())


def some(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    r = torch.rand(count, 8, generator=torch.Generator().manual_seed(seed))
    boxes = torch.cat([r[:, :2] * 12, r[:, 2:3], r[:, 3:6] * 3 + 0.5, r[:, 6:7] * 6.28], 1)
    # Scores of two digits: ties occur.
    return boxes, (r[:, 7] * 20).round() / 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threshold", GOLDEN["keep"])
def test_goldens(threshold, dtype):
    boxes, scores = (torch.tensor(GOLDEN[name], dtype=dtype) for name in ("boxes", "scores"))
    assert nms(boxes, scores, float(threshold)).tolist() == GOLDEN["keep"][threshold]


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5])
def test_equal_to_the_definition_over_several_blocks(threshold, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 16)
    boxes, scores = some(100)
    expected = nms_reference(boxes, scores, threshold)
    assert nms(boxes, scores, threshold).tolist() == expected
    assert nms(boxes, scores, threshold, post=7).tolist() == expected[:7]
    first = scores.argsort(descending=True, stable=True)[:40]
    cut = [first[n].item() for n in nms_reference(boxes[first], scores[first], threshold)]
    assert nms(boxes, scores, threshold, pre=40).tolist() == cut


def test_classes_do_not_see_each_other():
    boxes, scores = some(90)
    labels = torch.arange(90) % 3
    thresholds, post = [0.0, 0.2, 0.6], [5, 100, 100]
    kept = nms_by_class(boxes, scores, labels, thresholds, pre=[80, 25, 80], post=post)
    expected = []
    for label in range(3):
        own = (labels == label).nonzero()[:, 0]
        own = own[scores[own].argsort(descending=True, stable=True)][: [80, 25, 80][label]]
        chosen = nms_reference(boxes[own], scores[own], thresholds[label])[: post[label]]
        expected += [own[n].item() for n in chosen]
    assert kept.tolist() == expected


def test_nothing_and_nan():
    boxes, scores = some(5)
    assert nms(boxes[:0], scores[:0], 0.5).shape == (0,)
    assert nms_by_class(boxes[:0], scores[:0], torch.zeros(0, dtype=torch.int64), [0.5, 0.5]).shape == (0,)
    scores[2] = math.nan
    assert 2 not in nms(boxes, scores, 1.0).tolist() and len(nms(boxes, scores, 1.0)) == 4
