"""Losses of restoration: tensors (B, C, H, W) in, one number out.

`torch.nn.L1Loss` is what most releases train with; here are the others.
"""

__all__ = ["Charbonnier", "FrequencyL1", "LumaL1"]

import torch
from torch import Tensor, nn


class Charbonnier(nn.Module):
    """mean sqrt((x - y)^2 + eps^2), an absolute error that is smooth at zero (Lai et al. 2017).

    Args:
        eps: how round the corner is.
    """

    def __init__(self, eps: float = 1e-3) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return ((x - y).square() + self.eps**2).sqrt().mean()


class FrequencyL1(nn.Module):
    """L1 of the pixels plus `weight` times L1 of the 2-D spectra (MIMO-UNet, Cho et al. 2021).

    Real and imaginary parts of the unnormalised transform count separately, as there.

    Args:
        weight: of the spectral part.
    """

    def __init__(self, weight: float = 0.1) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        # The transform has no half precision on all devices; it is linear, so the difference is transformed once.
        difference = (x - y).float()
        spectrum = torch.view_as_real(torch.fft.rfft2(difference))
        return difference.abs().mean() + self.weight * spectrum.abs().mean()


class LumaL1(nn.Module):
    """L1 of the luma (BT.601, as PSNR is measured) plus `colour` times L1 of red, green and blue.

    Published tables count luma alone, which a loss on three channels pays for only in part.

    Args:
        colour: of the second part.
    """

    def __init__(self, colour: float = 0.1) -> None:
        super().__init__()
        self.colour = colour
        self.register_buffer("luma", torch.tensor([65.481, 128.553, 24.966]) / 219, persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        difference = x - y
        luma = torch.einsum("bchw,c->bhw", difference, self.luma)
        return luma.abs().mean() + self.colour * difference.abs().mean()
