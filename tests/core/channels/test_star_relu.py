import torch

from core.channels import SquaredReLU, StarReLU


def test_the_formulas():
    star = StarReLU()
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(star(x), SquaredReLU()(x))
    torch.nn.init.constant_(star.scale, 0.5)
    torch.nn.init.constant_(star.bias, -0.1)
    torch.testing.assert_close(star(x), 0.5 * x.clamp(min=0) ** 2 - 0.1)
