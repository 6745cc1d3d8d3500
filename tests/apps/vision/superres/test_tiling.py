"""Tiles against the whole image, the budget of memory, and half precision that overflows."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from apps.vision.superres import tiling
from apps.vision.superres.ensemble import Ensemble
from apps.vision.superres.tiling import enlarge, memory_of, spans, weights
from core.errors import UserError


class Net(nn.Module):
    """Convolutions that reach `depth` + 1 pixels far, and a record of what was asked of it."""

    def __init__(self, scale=2, depth=3, width=4, reduced=False):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.ModuleList(nn.Conv2d(3 if n == 0 else width, width, 3, padding=1) for n in range(depth))
        self.tail = nn.Conv2d(width, 3 * scale**2, 3, padding=1)
        self.scale, self.seen = scale, []

    def forward(self, x):
        self.seen.append(tuple(x.shape[2:]))
        for conv in self.body:
            x = F.relu(conv(x))
        return F.pixel_shuffle(self.tail(x), self.scale)


@pytest.mark.parametrize("shape", [(70, 45), (33, 90), (64, 64), (17, 81), (8, 8)])
@pytest.mark.parametrize(("scale", "multiple", "tile", "overlap"), [(2, 8, 32, 16), (3, 4, 28, 20), (1, 16, 48, 16)])
def test_equal_to_the_whole_image_for_a_network_of_small_reach(shape, scale, multiple, tile, overlap):
    net, lr = Net(scale), torch.rand(1, 3, *shape)
    whole = net(lr)
    net.seen.clear()
    tiled = enlarge(net, lr, scale, tile=tile, overlap=overlap, multiple=multiple)
    assert tiled.shape == whole.shape and max(max(s) for s in net.seen) <= tile
    assert (len(net.seen) > 1) == (max(shape) > tile)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=2e-6)


def test_a_network_of_large_reach_changes_smoothly_across_tiles():
    """Tiles see different surroundings; the blend must not jump where one begins or ends."""

    def net(x):
        return x + x.mean((2, 3), keepdim=True)

    line = torch.linspace(0, 1, 200)
    lr = (line[None, :] * line[:, None])[None, None].repeat(1, 3, 1, 1)
    out = enlarge(net, lr, 1, tile=64, overlap=32, multiple=16)
    steps = torch.cat([out.diff(dim=2).flatten(), out.diff(dim=3).flatten()]).abs()
    assert steps.max() < 0.03 and (out - net(lr)).abs().max() > 0.1


@pytest.mark.parametrize("length", [1, 31, 64, 65, 100, 128, 321])
@pytest.mark.parametrize(("tile", "overlap", "multiple"), [(64, 32, 16), (48, 16, 16), (40, 33, 4), (64, 0, 32)])
def test_spans_and_weights(length, tile, overlap, multiple):
    tiles = spans(length, tile, overlap, multiple)
    assert tiles[0][0] == 0 and tiles[-1][1] == length
    assert all(start % multiple == 0 and 0 < end - start <= tile for start, end in tiles)
    for (_, before), (start, _) in pairwise(tiles):
        assert before - start >= overlap
    for scale in (1, 2, 3, 4):
        total = torch.zeros(length * scale)
        for (start, end), w in zip(tiles, weights(tiles, overlap, scale), strict=True):
            assert len(w) == scale * (end - start) and w.min() >= 0 and w.max() <= 1
            total[scale * start : scale * end] += w
            margin = scale * overlap // 4
            if margin and start:
                assert (w[:margin] == 0).all()
            if margin and end < length:
                assert (w[-margin:] == 0).all()
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1.2e-7)


def test_the_tile_follows_from_the_budget():
    net, lr = Net(2, width=8), torch.rand(1, 3, 200, 130)
    fixed, a_pixel = memory_of(net, lr)
    # Tensors that live together at the end: features, what the shuffle reads and what it makes.
    assert (fixed, a_pixel) == (0, 1.5 * 4 * (8 + 12 + 12))
    net.seen.clear()
    enlarge(net, lr, 2, overlap=16, multiple=16, memory_mb=a_pixel * 72**2 / 2**20)
    assert max(max(s) for s in net.seen) == 64 and len(net.seen) == 12
    net.seen.clear()
    enlarge(net, lr, 2, overlap=16, multiple=16, memory_mb=a_pixel * 208 * 144 / 2**20 + 0.001)
    assert net.seen == [(200, 130)]
    net.seen.clear()
    enlarge(net, lr, 2)
    assert net.seen == [(200, 130)]
    with pytest.warns(UserWarning, match=r"a tile of 32 pixels needs about \d+ MB, more than the 0\.001 MB"):
        enlarge(net, lr[:, :, :80, :80], 2, overlap=16, multiple=16, memory_mb=0.001)


def test_the_measurement_grows_with_the_network_and_is_made_once():
    small, large = Net(width=4), Net(width=64)
    lr = torch.rand(1, 3, 100, 100)
    assert memory_of(large, lr).pixel > 3 * memory_of(small, lr).pixel
    small.seen.clear()
    memory_of(small, lr)
    assert small.seen == []
    # The ensemble runs four images at a time.
    assert memory_of(Ensemble(small), lr).pixel > 3 * memory_of(small, lr).pixel
    small.seen.clear()
    memory_of(Ensemble(small), lr)
    assert small.seen == []


def test_what_does_not_grow_with_the_image_is_told_apart():
    def net(x):
        table = torch.zeros(1000)
        return F.interpolate(x, scale_factor=2) + table.sum() * 0

    memory = memory_of(net, torch.rand(1, 3, 8, 8))
    assert memory.fixed == pytest.approx(1.5 * 4000, rel=0.01) and memory.pixel == pytest.approx(1.5 * 4 * 24, rel=0.01)


class Overflowing(nn.Module):
    """Values that half precision cannot hold in between."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(300.0))

    def forward(self, x):
        return F.interpolate((x * self.weight) * self.weight * 2 / self.weight**2 / 2, scale_factor=2)


def test_half_precision_that_overflows_is_run_again_in_full():
    net, lr = Overflowing().half(), torch.rand(1, 3, 40, 40)
    assert not net(lr.half()).isfinite().all()
    expected = F.interpolate(lr, scale_factor=2)
    torch.testing.assert_close(enlarge(net, lr, 2), expected, rtol=1e-4, atol=1e-5)
    tiled = enlarge(net, lr, 2, tile=24, overlap=8, multiple=8)
    torch.testing.assert_close(tiled, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(enlarge(Ensemble(net), lr, 2), expected, rtol=1e-4, atol=1e-5)
    assert net.weight.dtype == torch.float16


def test_a_network_that_is_broken_says_so():
    def broken(x):
        return F.interpolate(x, scale_factor=2) * torch.nan

    with pytest.raises(UserError, match="gives NaN or infinite pixels, in float32 too"):
        enlarge(broken, torch.rand(1, 3, 8, 8), 2)


def test_tiling_needs_no_gradients_and_no_bar_unless_asked(capsys):
    net = Net()
    assert not enlarge(net, torch.rand(1, 3, 70, 70), 2, tile=32, overlap=8, multiple=8).requires_grad
    assert capsys.readouterr().err == ""


def test_errors():
    net = Net()
    with pytest.raises(ValueError, match="expected one image"):
        enlarge(net, torch.rand(2, 3, 8, 8), 2)
    with pytest.raises(ValueError, match="must be positive"):
        enlarge(net, torch.rand(1, 3, 8, 8), 2, tile=0)
    with pytest.raises(ValueError, match="scale 3 needs"):
        enlarge(net, torch.rand(1, 3, 70, 70), 3, tile=32, overlap=8, multiple=8)
    with pytest.raises(ValueError, match="leaves no step of 32"):
        spans(100, 64, 33, 32)
    assert all(n % 32 == 0 for n in tiling.PROBES)
