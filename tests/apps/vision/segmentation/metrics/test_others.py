"""Boundaries, clicks, volumes and instance masks."""

import math
from importlib.util import find_spec

import numpy as np
import pytest

from apps.vision.segmentation.metrics.boundary import boundaries, boundary_f, region_j, sequences
from apps.vision.segmentation.metrics.clicks import clicks_needed, number_of_clicks
from apps.vision.segmentation.metrics.dice import dice, hd95, organs
from apps.vision.segmentation.metrics.mask_ap import Instances, mask_ap


def dilated_f(prediction, label, tolerance):
    """The toolkit's way: boundaries grown by a disk."""
    b, g = boundaries(prediction), boundaries(label)
    r = tolerance if tolerance >= 1 else math.ceil(tolerance * math.hypot(*b.shape))

    def grown(x):
        out = np.zeros_like(x)
        h, w = x.shape
        for y, z in np.argwhere(x):
            for dy in range(-r, r + 1):
                for dx in range(-r, r + 1):
                    if dy * dy + dx * dx <= r * r and 0 <= y + dy < h and 0 <= z + dx < w:
                        out[y + dy, z + dx] = True
        return out

    precision, recall = (b & grown(g)).sum() / b.sum(), (g & grown(b)).sum() / g.sum()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("tolerance", [0.008, 2, 4])
def test_distance_equals_dilation(tolerance):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:30, :40]
    a = (y - 14) ** 2 + (x - 18) ** 2 < 80
    b = ((y - 16) ** 2 + (x - 20) ** 2 < 90) ^ (rng.random((30, 40)) < 0.03)
    assert boundary_f(a, b, tolerance) == pytest.approx(dilated_f(a, b, tolerance), abs=1e-12)


def test_boundary_at_the_border_of_the_image():
    mask = np.zeros((3, 3), bool)
    mask[2, 2] = True
    assert boundaries(mask).astype(int).tolist() == [[0, 0, 0], [0, 1, 1], [0, 1, 0]]


def test_empty_masks():
    empty, full = np.zeros((5, 5)), np.eye(5)
    assert boundary_f(empty, empty) == 1 and boundary_f(empty, full) == 0 and boundary_f(full, empty) == 0
    assert region_j(empty, empty) == 1 and region_j(empty, full) == 0
    # A mask that covers everything has no boundary.
    assert boundary_f(np.ones((5, 5)), empty) == 1


def test_sequences_weigh_alike():
    assert sequences({"long": [1.0, 1.0, 1.0], "short": [0.0]}) == 0.5
    with pytest.raises(ValueError, match="at least one frame"):
        sequences({"a": []})


def test_clicks():
    assert clicks_needed([0.5, 0.86, 0.7, 0.95], 0.85) == 2
    assert clicks_needed([0.5, 0.86, 0.7, 0.95], 0.9, limit=3) is None
    found = number_of_clicks([[0.9], [0.1, 0.2], [0.3, 0.91]], 0.9)
    assert found.mean == pytest.approx((1 + 20 + 2) / 3) and found.failures == 1 and found.objects == 3
    with pytest.raises(ValueError, match="share of 1"):
        number_of_clicks([[0.9]], 90)


def test_dice_and_distance():
    a, b = np.zeros((4, 8, 8), bool), np.zeros((4, 8, 8), bool)
    a[1:3, 2:5, 2:5], b[1:3, 2:5, 4:7] = True, True
    assert dice(a, b) == 2 * 6 / 36
    assert hd95(a, b) == 2.0
    # Voxels twice as wide are twice as far, and thick slices do not matter here.
    assert hd95(a, b, (5, 1, 2)) == 4.0
    empty = np.zeros_like(a)
    assert dice(empty, empty) == 1 and hd95(empty, empty) == 0
    assert dice(a, empty) == 0 and math.isnan(hd95(a, empty))


def test_organs_are_means_of_volumes():
    label = np.zeros((2, 6, 6), int)
    label[:, :3] = 1
    wrong = label.copy()
    wrong[0, 0, 0] = 2
    found = organs([(label, label, None), (wrong, label, None)], [1, 2])
    assert found[1].dice == pytest.approx((1 + 2 * 35 / 71) / 2) and found[1].missed == 0
    # Class 2 is in neither map of the first volume, and only predicted in the second.
    assert found[2].dice == 0.5 and found[2].hd95 == 0.0 and found[2].missed == 1


def square(top, left, side=6):
    mask = np.zeros((20, 20), bool)
    mask[top : top + side, left : left + side] = True
    return mask


@pytest.mark.skipif(find_spec("pycocotools") is None, reason="needs pycocotools")
def test_mask_ap():
    truth = [Instances([square(0, 0), square(10, 10)], [3, 3])]
    assert mask_ap(truth, [Instances([square(10, 10), square(0, 0)], [3, 3], [0.9, 0.8])]).ap == pytest.approx(1.0)
    # One of two found, exactly: precision 1 up to recall 1/2, which are 51 of 101 recalls.
    half = mask_ap(truth, [Instances([square(0, 0)], [3], [0.9])])
    assert half.ap == pytest.approx(51 / 101) and half.categories[3] == pytest.approx(51 / 101)
    # Shifted by one pixel: IoU 30 / 42, right at 0.5 .. 0.7.
    moved = mask_ap(truth[:1], [Instances([square(0, 1), square(10, 11)], [3, 3], [0.9, 0.8])])
    assert moved.ap == pytest.approx(0.5) and moved.ap50 == pytest.approx(1.0) and moved.ap75 == 0.0
    # A crowd excuses.
    crowd = [Instances([square(0, 0), square(8, 8, 12)], [3, 3], crowd=[False, True])]
    found = [Instances([square(0, 0), square(9, 9), square(12, 12)], [3, 3, 3], [0.5, 0.9, 0.8])]
    assert mask_ap(crowd, found).ap == pytest.approx(1.0)


@pytest.mark.skipif(find_spec("pycocotools") is not None, reason="pycocotools is there")
def test_mask_ap_says_what_is_missing():
    from core.errors import UserError

    with pytest.raises(UserError, match="pip install pycocotools"):
        mask_ap([Instances([square(0, 0)], [1])], [Instances([], [], [])])
