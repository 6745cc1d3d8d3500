"""The filter bank that starts as a Fourier transform, and roots of its frames."""

import pytest
import torch

from apps.audio.models import MossFormer2, SeparationNetwork
from apps.audio.models.waveform import fourier_filters, square_roots


def small(**options) -> MossFormer2:
    torch.manual_seed(0)
    return MossFormer2(
        16, 1, channels=32, kernel=32, stride=8, hidden=32, key_dim=8, group=16, inner=8, order=2, **options
    ).eval()


class Everything(torch.nn.Module):
    """Masks of one for one speaker."""

    def forward(self, frames, mask=None):
        return torch.ones_like(frames)[:, :, None]


def test_fourier_filters_give_the_waveform_back() -> None:
    """The four phases of each frequency lose nothing: analysis, ReLU and synthesis by the same filters is identity."""
    torch.manual_seed(0)
    network = SeparationNetwork(Everything(), 64, kernel=16, stride=4, fourier=True).double()
    signal = torch.randn(1, 400, dtype=torch.float64)
    with torch.no_grad():
        made = network(signal)[0, 0]
    inner = slice(32, 368)
    gain = (made[inner] @ signal[0, inner]) / (signal[0, inner] @ signal[0, inner])
    error = made[inner] / gain - signal[0, inner]
    assert error.norm() < 0.02 * signal[0, inner].norm()


def test_fourier_filters_hear_their_own_tone_best() -> None:
    filters = fourier_filters(32, 64).double()
    time = torch.arange(64, dtype=torch.float64)
    for band in range(8):
        tone = torch.cos(torch.pi * (band + 0.5) / 8 * time + 0.3)
        heard = (filters @ tone).relu().view(4, 8).square().sum(0)
        assert heard.argmax() == band


def test_roots_do_not_depend_on_loudness_and_padding() -> None:
    torch.manual_seed(0)
    frames = torch.rand(2, 7, 5, dtype=torch.float64)
    mask = torch.arange(7) < torch.tensor([[7], [4]])
    frames = frames * mask[..., None]
    made = square_roots(frames, mask)
    torch.testing.assert_close(made, square_roots(1e3 * frames, mask))
    torch.testing.assert_close(made[1:, :4], square_roots(frames[1:, :4], None))
    assert not made[1, 4:].any()
    assert not square_roots(torch.zeros(1, 3, 2), None).any()


def test_spectral_network_is_the_same_alone_and_at_any_level() -> None:
    network = small(spectral=True)
    clips = torch.randn(2, 800)
    lengths = torch.tensor([800, 333])
    with torch.no_grad():
        made = network(clips, lengths)
        torch.testing.assert_close(made[1:, :, :333], network(clips[1:, :333]), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(network(100 * clips), 100 * network(clips), rtol=1e-4, atol=1e-3)
        assert not network(torch.zeros(1, 100)).isnan().any()
    made = network(torch.zeros(1, 100, requires_grad=True))
    made.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_a_fourier_start_needs_four_phases() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        SeparationNetwork(Everything(), 30, fourier=True)
