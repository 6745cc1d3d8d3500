"""COCO's numbers to the last digit, and each rule on its own."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from apps.vision.segmentation.metrics.panoptic import PanopticQuality, Segment

COCO = Path(__file__).parents[4] / "golden" / "coco_panoptic"


def ids(path):
    rgb = np.array(Image.open(path).convert("RGB")).astype(np.int64)
    return rgb @ np.array([1, 256, 65536])


def segments(annotation, area=False):
    return [
        Segment(s["id"], s["category_id"], bool(s.get("iscrowd", 0)), s["area"] if area else None)
        for s in annotation["segments_info"]
    ]


@pytest.mark.parametrize("area", [False, True])
@pytest.mark.parametrize("name", ["pred_perfect", "pred_small_shift", "pred_void_crowd"])
def test_equals_the_official_evaluation(name, area):
    truth = json.loads((COCO / "annotations" / "panoptic_val2017.json").read_text())
    found = json.loads((COCO / f"{name}.json").read_text())
    expected = json.loads((COCO / f"{name}_expected.json").read_text())
    metric = PanopticQuality({c["id"]: bool(c["isthing"]) for c in truth["categories"]})
    by_image = {a["image_id"]: a for a in found["annotations"]}
    for a in truth["annotations"]:
        b = by_image[a["image_id"]]
        folder = COCO / "annotations" / "panoptic_val2017"
        metric.update(ids(folder / a["file_name"]), segments(a, area), ids(COCO / name / b["file_name"]), segments(b))
    summary = metric.compute()
    for kind, ours in (("All", summary.all), ("Things", summary.things), ("Stuff", summary.stuff)):
        theirs = expected[kind]
        assert (ours.pq, ours.sq, ours.rq) == pytest.approx((theirs["pq"], theirs["sq"], theirs["rq"]), abs=1e-12)
        assert ours.n == theirs["n"]
    counted = {c: n for n, c in enumerate(metric.categories)}
    assert {str(c) for c in summary.categories} == set(expected["per_category"])
    for category, theirs in expected["per_category"].items():
        n = counted[int(category)]
        assert (metric.tp[n], metric.fp[n], metric.fn[n]) == (theirs["tp"], theirs["fp"], theirs["fn"])
        assert metric.iou[n].item() == pytest.approx(theirs["iou_sum"], abs=1e-12)


def counts(truth, true_segments, found, found_segments, categories=None):
    """tp, fp, fn and summed IoU of category 1."""
    metric = PanopticQuality(categories or {1: True, 2: False})
    metric.update(np.atleast_2d(truth), true_segments, np.atleast_2d(found), found_segments)
    return int(metric.tp[0]), int(metric.fp[0]), int(metric.fn[0]), metric.iou[0].item()


def test_half_is_no_match():
    truth, found = [7, 7, 0, 0], [0, 3, 0, 0]
    assert counts(truth, [Segment(7, 1)], found, [Segment(3, 1)]) == (0, 1, 1, 0.0)


def test_categories_must_agree():
    row = [5, 5, 5]
    assert counts(row, [Segment(5, 1)], row, [Segment(5, 2)]) == (0, 0, 1, 0.0)


def test_void_is_taken_from_the_union():
    # Of four found pixels two lie on void: IoU 2 / 2, not 2 / 4.
    assert counts([7, 7, 0, 0], [Segment(7, 1)], [3, 3, 3, 3], [Segment(3, 1)]) == (1, 0, 0, 1.0)


def test_mostly_on_void_is_no_false_positive():
    truth = [0, 0, 7, 7]
    assert counts(truth, [Segment(7, 2)], [3, 3, 3, 0], [Segment(3, 1)])[1] == 0
    # Half is not more than half.
    assert counts(truth, [Segment(7, 2)], [3, 3, 3, 3], [Segment(3, 1)])[1] == 1


def test_a_crowd_is_neither_matched_nor_missed_and_excuses_its_own_category():
    truth, crowd = [7, 7, 7, 7], [Segment(7, 1, crowd=True)]
    assert counts(truth, crowd, truth, [Segment(7, 1)]) == (0, 0, 0, 0.0)
    other = [Segment(7, 2, crowd=True)]
    assert counts(truth, other, truth, [Segment(7, 1)]) == (0, 1, 0, 0.0)


def test_void_and_crowd_add_up():
    truth = [0, 7, 9, 9]
    true_segments = [Segment(7, 1, crowd=True), Segment(9, 2)]
    assert counts(truth, true_segments, [3, 3, 3, 0], [Segment(3, 1)])[1] == 0


def test_the_last_crowd_of_a_category_counts():
    truth, found = [7, 7, 8, 0], [3, 3, 4, 0]
    first = [Segment(7, 1, True), Segment(8, 1, True)]
    assert counts(truth, first, found, [Segment(3, 1), Segment(4, 1)])[1] == 1
    assert counts(truth, first[::-1], found, [Segment(3, 1), Segment(4, 1)])[1] == 1
    # With the order turned round the other one is excused.
    assert counts(truth, first, [*found[:2], 0, 0], [Segment(3, 1)])[1] == 1
    assert counts(truth, first[::-1], [*found[:2], 0, 0], [Segment(3, 1)])[1] == 0


def test_a_missed_segment_on_predicted_void_counts():
    assert counts([7, 7], [Segment(7, 1)], [0, 0], []) == (0, 0, 1, 0.0)


def test_a_stated_area_replaces_the_counted_one():
    row = [7, 7, 7, 9]
    true, found = [Segment(9, 2), Segment(7, 1)], [Segment(7, 1), Segment(9, 2)]
    assert counts(row, true, row, found)[3] == 1.0
    assert counts(row, [Segment(9, 2), Segment(7, 1, area=5)], row, found)[3] == 3 / 5


def test_a_category_only_predicted_enlarges_the_mean():
    metric = PanopticQuality({1: True, 2: False, 3: True})
    row = np.array([[7, 7, 9]])
    metric.update(row, [Segment(7, 1), Segment(9, 2)], row, [Segment(7, 1), Segment(9, 3)])
    summary = metric.compute()
    assert set(summary.categories) == {1, 2, 3}
    assert summary.all.pq == pytest.approx(1 / 3) and summary.all.n == 3
    assert summary.things.pq == 0.5 and summary.stuff.pq == 0.0
    assert summary.categories[3].pq == 0.0


@pytest.mark.filterwarnings("ignore:The ``compute``")
def test_no_segment_at_all_is_nan():
    summary = PanopticQuality({1: True}).compute()
    assert summary.all.n == 0 and summary.all.pq != summary.all.pq


def test_errors():
    row, metric = np.array([[7]]), PanopticQuality({1: True})
    with pytest.raises(ValueError, match=r"a\.png: the predicted map holds segment 7"):
        metric.update(row, [Segment(7, 1)], row, [], "a.png")
    with pytest.raises(ValueError, match="lists segment 8, its map has no pixel"):
        metric.update(row, [Segment(7, 1)], row, [Segment(7, 1), Segment(8, 1)])
    with pytest.raises(ValueError, match="category 4, which is unknown"):
        metric.update(row, [Segment(7, 4)], row, [Segment(7, 1)])
    with pytest.raises(ValueError, match="one size"):
        metric.update(row, [Segment(7, 1)], np.zeros((2, 2)), [])


def test_processes_add_up_their_counts():
    right, wrong = PanopticQuality({1: True}), PanopticQuality({1: True})
    row, segments = np.array([[7, 7]]), [Segment(7, 1)]
    right.update(row, segments, row, segments)
    wrong.update(row, segments, np.zeros((1, 2)), [])
    states = iter([wrong.tp, wrong.fp, wrong.fn, wrong.iou])
    right.sync(dist_sync_fn=lambda state, group=None: [state, next(states)], distributed_available=lambda: True)
    assert (int(right.tp), int(right.fn)) == (1, 1) and right.iou.dtype == torch.float64
    right.unsync()
    assert int(right.fn) == 0
