"""Clicks: labels, simulated users, sessions that run the encoder once, scores over several images."""

import math

import pytest
import torch
from torch import nn

from apps.vision.segmentation.clicks import (
    MAYBE_BACKGROUND,
    MAYBE_OBJECT,
    SURE_BACKGROUND,
    SURE_OBJECT,
    UNKNOWN,
    Click,
    InteractiveSession,
    Zoom,
    believed,
    evaluate_clicks,
    next_click,
    painted,
    simulate,
    zoom_box,
)
from apps.vision.segmentation.models.segmenter import Logits


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_click_paints_a_disk_over_everything():
    labels = torch.full((9, 12), MAYBE_BACKGROUND, dtype=torch.uint8)
    y = painted(labels, Click(7, 1, True), 5)
    for i in range(9):
        for j in range(12):
            inside = (i - 7) ** 2 + (j - 1) ** 2 <= 25
            assert y[i, j] == (SURE_OBJECT if inside else MAYBE_BACKGROUND)
    assert painted(y, Click(7, 1, False), 0)[7, 1] == SURE_BACKGROUND
    assert not (labels == SURE_OBJECT).any()


def test_what_a_prediction_changes():
    labels = torch.arange(5).repeat(2, 1).to(torch.uint8)
    predicted = torch.tensor([[0] * 5, [1] * 5])
    assert believed(labels, predicted).tolist() == [
        [SURE_BACKGROUND, MAYBE_BACKGROUND, MAYBE_BACKGROUND, UNKNOWN, SURE_OBJECT],
        [SURE_BACKGROUND, UNKNOWN, MAYBE_OBJECT, MAYBE_OBJECT, SURE_OBJECT],
    ]
    assert believed(labels, predicted).dtype == labels.dtype


def distances(mask):
    """Of each pixel of a mask to the nearest one outside or beyond the border, by looking at all."""
    height, width = mask.shape
    outside = [(i, j) for i in range(-1, height + 1) for j in range(-1, width + 1)]
    outside = [(i, j) for i, j in outside if not (0 <= i < height and 0 <= j < width and mask[i, j])]
    far = torch.zeros(height, width, dtype=torch.float64)
    for i, j in mask.nonzero().tolist():
        far[i, j] = min(math.hypot(i - a, j - b) for a, b in outside)
    return far


def places(predicted, truth, clicked, spread):
    return {next_click(predicted, truth, clicked, spread, generator(seed)) for seed in range(60)}


@pytest.mark.parametrize("spread", [1.0, 1.7])
@pytest.mark.parametrize("seed", range(3))
def test_clicks_are_where_distances_say(spread, seed):
    predicted, truth = (torch.rand(2, 6, 7, generator=generator(seed)) > 0.35).long()
    truth[0, :3] = 255
    clicked = [Click(2, 3, True), Click(4, 4, False)]
    missed, wrong = (predicted == 0) & (truth == 1), (predicted == 1) & (truth == 0)
    for click in clicked:
        missed[click.y, click.x] = wrong[click.y, click.x] = False
    one, two = distances(missed), distances(wrong)
    positive = bool(one.max() > two.max())
    far = one if positive else two
    good = far >= far.max() if spread == 1 else far > far.max() / spread
    found = places(predicted, truth, clicked, spread)
    assert found <= {Click(y, x, positive) for y, x in good.nonzero().tolist()}
    assert len(found) == good.sum() or good.sum() > 8


def test_ties_click_at_what_is_wrong_and_nothing_is_left_of_what_was_clicked():
    truth, predicted = torch.tensor([[1, 0, 0, 0]]), torch.tensor([[0, 0, 0, 1]])
    assert next_click(predicted, truth) == Click(0, 3, False)
    assert next_click(predicted, truth, [Click(0, 3, False)]) == Click(0, 0, True)
    assert next_click(predicted, truth, [Click(0, 3, False), Click(0, 0, True)]) is None
    assert next_click(truth, truth) is None
    with pytest.raises(ValueError, match="spread"):
        next_click(predicted, truth, spread=0.5)


def test_box_around_what_is_found_and_clicked():
    labels = torch.full((100, 130), UNKNOWN)
    found = torch.zeros(100, 130)
    assert zoom_box(labels, found, Zoom()).tolist() == [0, 0, 160, 128]
    found[40:60, 70:80] = 1
    assert zoom_box(labels, found, Zoom(1.0, 1), 8).tolist() == [64, 40, 80, 64]
    assert zoom_box(labels, found, Zoom(2.0, 30), 8).tolist() == [56, 24, 96, 72]
    labels[2, 129] = SURE_BACKGROUND
    assert zoom_box(labels, found, Zoom(1.0, 1), 8).tolist() == [64, 0, 136, 64]


class Oracle(nn.Module):
    """Knows a truth, and says it as far as sure labels reach; counts what runs."""

    stride = 8

    def __init__(self, reach=4):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.reach, self.encoded, self.decoded, self.boxes = reach, 0, 0, []

    def features(self, x):
        self.encoded += 1
        return [x]

    def decode(self, features, labels, boxes=None):
        self.decoded += 1
        self.boxes.append(boxes)
        known = torch.zeros(labels.shape, dtype=torch.bool)
        for n, y, x in (labels == SURE_OBJECT).nonzero().tolist():
            known[n, max(y - self.reach, 0) : y + self.reach + 1, max(x - self.reach, 0) : x + self.reach + 1] = True
        score = 8.0 * (known & (features[0][:, 0] > 0)) - 4
        return Logits(torch.stack([-score, score], 1))


def pictures(count=3, size=24):
    truths = torch.zeros(count, size, size, dtype=torch.long)
    for n in range(count):
        truths[n, 3 : 12 + 3 * n, 4 : 14 + 2 * n] = 1
    return truths.float()[:, None].repeat(1, 3, 1, 1), truths


def test_session_encodes_once_and_remembers_clicks():
    (image, *_), (truth, *_) = pictures()
    network = Oracle(0)
    session = InteractiveSession(network, radius=1)
    with pytest.raises(ValueError, match="no image"):
        session.click(0, 0, True)
    session.image(image)
    assert session.probability.shape == (24, 24) and not session.probability.any()
    first = session.click(5, 6, True)
    second = session.click(9, 10, True)
    assert (first > 0.5).sum() == 5 and (second > 0.5).sum() == 10 and ((second > 0.5) <= truth.bool()).all()
    assert (network.encoded, network.decoded, len(session.clicks)) == (1, 2, 2)
    assert session.labels[5, 6] == SURE_OBJECT and session.labels[0, 0] == MAYBE_BACKGROUND
    session.image(image)
    assert not session.clicks and (session.labels == UNKNOWN).all() and network.boxes == [None, None]
    for what in ((24, 0), (0, -1)):
        with pytest.raises(ValueError, match="into the image"):
            session.click(*what, True)
    with pytest.raises(ValueError, match=r"3, H, W"):
        session.image(image[0])


def test_session_looks_closely_from_the_second_click_on():
    (image, *_), _ = pictures()
    network = Oracle()
    session = InteractiveSession(network, Zoom(1.0, 1))
    session.image(image)
    session.click(5, 6, True)
    session.click(6, 6, True)
    assert network.boxes[0] is None and network.boxes[1].tolist() == [[0, 0, 16, 16]]


def test_scores_over_images():
    images, truths = pictures()
    truths[0, 20:] = 255
    scores = evaluate_clicks(InteractiveSession(Oracle(2)), zip(images, truths, strict=True), generator=generator())
    assert all(own[-1] >= 0.9 or len(own) == 20 for own in scores.ious)
    assert all(max(own[:-1], default=0) < 0.9 for own in scores.ious)
    needed = [next((n for n, iou in enumerate(own, 1) if iou >= 0.85), 20) for own in scores.ious]
    assert scores.noc85.mean == sum(needed) / 3 and scores.noc85.objects == 3 and scores.noc90.failures == 0
    assert scores.noc85.mean <= scores.noc90.mean
    short = evaluate_clicks(InteractiveSession(Oracle(0), radius=1), zip(images, truths, strict=True), limit=3)
    assert short.noc90 == (3.0, 3, 3)
    with pytest.raises(ValueError, match="no pixel of 1"):
        evaluate_clicks(InteractiveSession(Oracle()), [(images[0], torch.zeros(24, 24))])


def test_simulated_labels():
    images, truths = pictures()
    network, seen = Oracle(0).train(), set()
    for seed in range(12):
        network.encoded = network.decoded = 0
        labels = simulate(network, images, truths, generator(seed), radius=0, most=3)
        torch.testing.assert_close(labels, simulate(network, images, truths, generator(seed), radius=0, most=3))
        sure = (labels == SURE_OBJECT).flatten(1).sum(1)
        rounds = network.decoded // 2
        seen.add(rounds)
        assert sure.tolist() == [rounds + 1] * 3 and network.encoded == 2 * (rounds > 0)
        assert ((labels == SURE_OBJECT) <= (truths == 1)).all() and network.training
        if not rounds:
            assert (labels == UNKNOWN).sum() == labels.numel() - 3
    assert {0, 1, 2} <= seen <= {0, 1, 2, 3}
