import pytest
import torch

from apps.vision.superres.losses import Charbonnier, FrequencyL1, LumaL1


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    x, y = (torch.rand(2, 3, 5, 7, dtype=torch.float64, generator=made) for _ in range(2))
    return x.requires_grad_(), y


def test_charbonnier_is_the_absolute_error_but_for_a_round_corner() -> None:
    x, y = pair()
    assert Charbonnier(0.0)(x, y).item() == pytest.approx((x - y).abs().mean().item())
    assert Charbonnier(0.1)(y, y).item() == pytest.approx(0.1)
    assert torch.autograd.gradcheck(Charbonnier(0.1), (x, y))


def test_frequency_loss_counts_real_and_imaginary_parts() -> None:
    x, y = pair()
    spectrum = torch.fft.rfft2((x - y).detach())
    parts = (spectrum.real.abs().mean() + spectrum.imag.abs().mean()) / 2
    wanted = (x - y).abs().mean() + 0.3 * parts
    assert FrequencyL1(0.3)(x, y).item() == pytest.approx(wanted.item())


def test_luma_loss_sees_brightness_fully_and_colour_a_little() -> None:
    loss = LumaL1(0.1).double()
    zeros = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    gray = torch.full_like(zeros, 0.5)
    assert loss(gray, zeros).item() == pytest.approx(0.5 + 0.1 * 0.5)
    # Blue raised and green lowered by as much luma as blue gained: the colours alone differ.
    tint = torch.tensor([0.0, -24.966, 128.553], dtype=torch.float64).view(1, 3, 1, 1).expand_as(zeros) / 1000
    assert loss(tint, zeros).item() == pytest.approx(0.1 * tint.abs().mean().item())
    x, y = pair()
    assert torch.autograd.gradcheck(loss, (x, y))
