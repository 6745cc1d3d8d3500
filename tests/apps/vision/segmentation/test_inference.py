"""Windows, views and strips give what the plain form gives."""

from collections import namedtuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from apps.vision.segmentation import inference
from apps.vision.segmentation.inference import Windows, class_map, scores, starts
from core.errors import UserError

Logits = namedtuple("Logits", "main others")


def padded_sum(network, image, windows):
    """The usual form: every window padded to the whole image."""
    height, width = image.shape[2:]
    high, wide = min(windows.size[0], height), min(windows.size[1], width)
    total, count = 0, 0
    for top in starts(height, high, windows.stride[0]):
        for left in starts(width, wide, windows.stride[1]):
            made = network(image[:, :, top : top + high, left : left + wide])
            border = (left, width - left - wide, top, height - top - high)
            total, count = total + F.pad(made, border), count + F.pad(torch.ones_like(made[:, :1]), border)
    return total / count


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 5, padding=2), nn.GELU(), nn.Conv2d(6, 5, 3, padding=1)).eval()


CASES = [((23, 37), (8, 10), (5, 7)), ((16, 16), (8, 8), (8, 8)), ((9, 30), (12, 12), (4, 4)), ((1, 1), (4, 4), (2, 2))]


def test_starts():
    assert starts(10, 4, 3) == [0, 3, 6] and starts(11, 4, 3) == [0, 3, 6, 7] and starts(3, 4, 2) == [0]


@pytest.mark.parametrize("size, window, stride", CASES)
def test_sliding_is_the_mean_of_the_windows(network, size, window, stride):
    image, windows = torch.randn(1, 3, *size), Windows(window, stride)
    expected = padded_sum(network, image, windows)
    assert torch.allclose(scores(network, image, windows), expected, atol=1e-6)
    assert torch.equal(class_map(network, image, windows), expected.argmax(1)[0])


@pytest.mark.parametrize("size, window, stride", CASES)
def test_sliding_equals_whole_where_no_pixel_looks_around(size, window, stride):
    torch.manual_seed(1)
    pointwise, image = nn.Conv2d(3, 4, 1), torch.randn(1, 3, *size)
    assert torch.allclose(scores(pointwise, image, Windows(window, stride)), pointwise(image), atol=1e-6)


def test_a_window_that_covers_the_image_is_the_whole(network):
    image = torch.randn(1, 3, 13, 11)
    assert torch.equal(scores(network, image, Windows((13, 20), (5, 5))), network(image))
    assert torch.equal(class_map(network, image, Windows((64, 64), (32, 32))), network(image).argmax(1)[0])


@pytest.mark.parametrize("memory_mb", [1e-6, 0.002, 0.005, 100])
def test_a_budget_changes_nothing_but_memory(network, memory_mb):
    image, windows = torch.randn(1, 3, 23, 60), Windows((8, 10), (5, 7))
    assert torch.equal(class_map(network, image, windows, memory_mb=memory_mb), class_map(network, image, windows))


def test_less_memory_is_used(network, monkeypatch):
    image, windows = torch.randn(1, 3, 64, 80), Windows((8, 8), (8, 8))
    sizes = []
    plain = inference._blocks

    def watched(*arguments, **named):
        for block in plain(*arguments, **named):
            sizes.append(block.numel() * 4)
            yield block

    monkeypatch.setattr(inference, "_blocks", watched)
    class_map(network, image, windows)
    assert max(sizes) == 4 * 5 * 8 * 80
    sizes.clear()
    class_map(network, image, windows, memory_mb=5_000 / 2**20)
    assert max(sizes) <= 5_000


@pytest.mark.parametrize("shape", [(7, 9), (20, 31), (40, 11), (1, 1)])
@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_strips_are_pytorchs_bilinear(shape, rows, monkeypatch):
    torch.manual_seed(2)
    maps = torch.randn(1, 4, 20, 13, dtype=torch.float64)
    monkeypatch.setattr(inference, "STRIP_BYTES", rows * 4 * 4 * max(13, shape[1]))
    found = torch.cat([part for _, part in inference._strips(maps, shape)], 2)
    expected = F.interpolate(maps, shape, mode="bilinear", align_corners=False)
    assert found.shape == expected.shape and torch.allclose(found, expected, atol=1e-6)


def test_labels_of_another_size(network):
    image = torch.randn(1, 3, 12, 10)
    expected = F.interpolate(network(image), (24, 15), mode="bilinear").argmax(1)[0]
    assert (class_map(network, image, size=(24, 15)) == expected).float().mean() > 0.99


def test_views_are_means_of_probabilities(network):
    image, total = torch.randn(1, 3, 12, 16), 0
    for shape in ((6, 8), (18, 24)):
        view = F.interpolate(image, shape, mode="bilinear", antialias=shape[0] < 12)
        for mirrored in (False, True):
            made = network(view.flip(3) if mirrored else view)
            made = F.interpolate(made.flip(3) if mirrored else made, (12, 16), mode="bilinear")
            total = total + made.softmax(1)
    found = class_map(network, image, scales=(0.5, 1.5), flip=True)
    assert (found == total.argmax(1)[0]).float().mean() > 0.99


def test_a_mirrored_network_gains_nothing():
    torch.manual_seed(3)
    pointwise, image = nn.Conv2d(3, 4, 1), torch.randn(1, 3, 8, 9)
    assert torch.equal(class_map(pointwise, image, flip=True), class_map(pointwise, image))


def test_networks_may_give_more_than_scores(network):
    image = torch.randn(1, 3, 6, 6)
    assert torch.equal(class_map(lambda x: Logits(network(x), ()), image), class_map(network, image))


def test_errors(network):
    with pytest.raises(ValueError, match="one image"):
        class_map(network, torch.randn(2, 3, 4, 4))
    with pytest.raises(ValueError, match="scores must have its size"):
        class_map(lambda x: x[:, :, ::2], torch.randn(1, 3, 4, 4))
    with pytest.raises(UserError, match="must be 1 to the size"):
        Windows((4, 4), (5, 4))
    with pytest.raises(ValueError, match="positive numbers"):
        class_map(network, torch.randn(1, 3, 4, 4), scales=())
