import torch
from torch.nn import functional as F

from core.channels import ConvMLP


def test_is_two_layers_around_a_convolution():
    torch.manual_seed(0)
    mlp = ConvMLP(4, 6, (3, 5)).double()
    x = torch.randn(2, 5, 3, 4).double()
    hidden = F.conv2d(mlp.enter(x).movedim(-1, 1), mlp.local.weight, mlp.local.bias, padding=(1, 2), groups=6)
    torch.testing.assert_close(mlp(x), mlp.leave(F.gelu(hidden.movedim(1, -1))))


def test_padding_is_what_lies_beyond_the_border():
    torch.manual_seed(0)
    mlp = ConvMLP(4, 6, (3,)).double()
    x = torch.randn(2, 7, 4).double()
    mask = (torch.arange(7) < 5).expand(2, -1)
    torch.testing.assert_close(mlp(x.masked_fill(~mask[..., None], torch.nan), mask=mask)[:, :5], mlp(x[:, :5]))
