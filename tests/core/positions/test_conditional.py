import torch
from torch import nn
from torch.nn import functional as F

from core.positions import ConditionalPosition


def test_adds_a_depthwise_convolution():
    torch.manual_seed(0)
    position = ConditionalPosition(4, activation=nn.GELU).double()
    x = torch.randn(2, 5, 3, 4).double()
    local = F.conv2d(x.movedim(-1, 1), position.weight, position.bias, padding=1, groups=4).movedim(1, -1)
    torch.testing.assert_close(position(x), x + F.gelu(local))


def test_padding_is_what_lies_beyond_the_border():
    torch.manual_seed(0)
    position = ConditionalPosition(4, (5,)).double()
    x = torch.randn(2, 7, 4).double()
    mask = (torch.arange(7) < 5).expand(2, -1)
    other = x.masked_fill(~mask[..., None], torch.nan)
    torch.testing.assert_close(position(other, mask)[:, :5], position(x[:, :5]))
