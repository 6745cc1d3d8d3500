import pytest
import torch

from core.blocks import Block
from core.channels import ChannelAttention
from core.mixers import Pooling


@pytest.mark.parametrize("grid", [(5,), (3, 4), (2, 3, 2)])
def test_weighs_channels_by_their_means(grid):
    torch.manual_seed(0)
    net, x = ChannelAttention(6, 2), torch.randn(2, *grid, 6)
    for sample, y in zip(x, net(x), strict=True):
        mean = sample.reshape(-1, 6).mean(0)
        weight = torch.sigmoid(net.leave.weight @ (net.enter.weight @ mean + net.enter.bias).relu() + net.leave.bias)
        torch.testing.assert_close(y, sample * weight)


def test_padding_is_not_seen():
    torch.manual_seed(0)
    net, x = ChannelAttention(6, 3), torch.randn(2, 4, 5, 6)
    mask = torch.zeros(2, 4, 5, dtype=torch.bool)
    mask[0, :3, :2] = True
    padded = torch.where(mask[..., None], x, torch.nan)
    y = net(padded, mask=mask)
    torch.testing.assert_close(y[:1, :3, :2], net(x[:1, :3, :2]))
    assert not y[~mask].any()  # one sample is padding alone


def test_is_a_channel_mixer_of_blocks():
    block = Block(6, Pooling(6, (3, 3)), ChannelAttention(6, 2))
    x, mask = torch.randn(1, 3, 4, 6), torch.ones(1, 3, 4, dtype=torch.bool)
    torch.testing.assert_close(block(x), block(x, mask=mask))


def test_refuses_no_width():
    with pytest.raises(ValueError, match="hidden width 0"):
        ChannelAttention(6, 0)
