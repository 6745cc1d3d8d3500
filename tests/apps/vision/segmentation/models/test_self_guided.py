"""Multi-scale self-guided attention: size, any image, the attentions against their definitions."""

from functools import partial

import pytest
import torch
from torchvision.models import resnet50

from apps.vision.segmentation.models.self_guided import ChannelAttention, PositionAttention, SelfGuided


def test_published_size_without_what_is_never_used():
    with torch.device("meta"):
        net = SelfGuided(5, 1)
    multi = 128 * 64 * 9 + 64 * 64 * 9 + 64 * 64 + 3 * 64 + 3 * 2 * 64 + 2  # convolutions, biases, norms, two slopes
    unused = 4 * (2 * multi + 1) + 8 * (64 * 64 + 64)  # refinements have a third slope
    whole = sum(p.numel() for p in net.parameters()) + unused
    assert round(whole / 1e6, 2) == 104.51


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return SelfGuided(3, 2, partial(resnet50), 16)


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 32)])
def test_any_size(net, size):
    assert net.eval()(torch.randn(1, 2, *size)).main.shape == (1, 3, *size)
    assert net.aux is None


def test_training_has_eight_predictions_and_every_weight_learns(net):
    made = net.train()(torch.randn(2, 2, 40, 40))
    assert len(made.others) == 7 and net.aux > 0
    (sum(y.square().mean() for y in (made.main, *made.others)) + net.aux).backward()
    # The gains start at 0, so that what they scale learns from the second step on.
    assert all(p.grad is not None for p in net.parameters())


def test_attentions_are_their_definitions():
    torch.manual_seed(0)
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    position, channel = PositionAttention(8).double(), ChannelAttention().double()
    position.gain.data.fill_(0.7)
    channel.gain.data.fill_(0.7)
    q, k, v = (layer(x).flatten(2) for layer in (position.q, position.k, position.v))
    expected = x + 0.7 * torch.einsum("bcj,bij->bci", v, torch.einsum("bci,bcj->bij", q, k).softmax(-1)).view_as(x)
    torch.testing.assert_close(position(x), expected)
    rows = x.flatten(2)
    weights = (-(rows @ rows.mT)).softmax(-1)
    torch.testing.assert_close(channel(x), x + 0.7 * (weights @ rows).view_as(x))
