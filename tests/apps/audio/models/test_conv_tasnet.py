"""Conv-TasNet beside torchaudio's: outputs and gradients for clips of any length."""

import pytest
import torch
import torchaudio
from torch import nn

from apps.audio.models import ConvTasNet, conv_tasnet_base, load_release
from apps.audio.models.names_baselines import TORCHAUDIO
from core.checkpoint import load


def both(kernel=16, activation="sigmoid"):
    """torchaudio's network with random weights, norms included, and ours with the same."""
    torch.manual_seed(0)
    theirs = torchaudio.models.ConvTasNet(
        3,
        enc_kernel_size=kernel,
        enc_num_feats=20,
        msk_num_feats=12,
        msk_num_hidden_feats=24,
        msk_num_layers=3,
        msk_num_stacks=2,
        msk_activate=activation,
    ).double()
    for parameter in theirs.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    chosen = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}[activation]
    ours = ConvTasNet(12, 3, repeats=2, hidden=24, speakers=3, channels=20, kernel=kernel, activation=chosen).double()
    load(ours, theirs.state_dict(), TORCHAUDIO)
    return ours, theirs


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize(
    ("kernel", "length"), [(16, 1), (16, 8), (16, 16), (16, 17), (16, 400), (16, 403), (17, 100), (5, 33)]
)
def test_equals_torchaudio(kernel, length, activation):
    ours, theirs = both(kernel, activation)
    clip = torch.randn(2, length, dtype=torch.float64, requires_grad=True)
    y, expected = ours(clip), theirs(clip[:, None])
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-12)
    probe = torch.randn_like(y)
    (given,) = torch.autograd.grad((y * probe).sum(), clip, retain_graph=True)
    torch.testing.assert_close(given, torch.autograd.grad((expected * probe).sum(), clip)[0], rtol=1e-8, atol=1e-11)
    (y * probe).sum().backward()
    theirs.zero_grad()
    (theirs(clip[:, None]) * probe).sum().backward()
    mapped = TORCHAUDIO({name: parameter.grad for name, parameter in theirs.named_parameters()})
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, mapped[name], rtol=1e-8, atol=1e-11)


def test_the_published_size():
    ours, theirs = conv_tasnet_base().eval(), torchaudio.models.conv_tasnet_base(2).eval()
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters()) == 4_984_881
    load(ours, theirs.state_dict(), TORCHAUDIO)
    clip = torch.randn(1, 4000)
    with torch.no_grad():
        y, expected = ours(clip), theirs(clip[:, None])
    assert (y - expected).norm() < 1e-5 * expected.norm()


def test_a_saved_network_of_torchaudio(tmp_path):
    theirs = torchaudio.models.conv_tasnet_base(3).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pt")
    ours = conv_tasnet_base(3).eval()
    load_release(ours, tmp_path / "weights.pt")
    clip = torch.randn(1, 500)
    with torch.no_grad():
        torch.testing.assert_close(ours(clip), theirs(clip[:, None]), rtol=1e-4, atol=1e-5)


def test_frames_of_a_fourier_start_are_never_negative():
    network = ConvTasNet(8, 2, repeats=1, hidden=12, channels=32, kernel=64, spectral=True)
    seen = []
    network.masks.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    y = network(torch.randn(2, 1000), torch.tensor([1000, 300]))
    assert y.isfinite().all() and (seen[0] >= 0).all() and (seen[0] > 0).any()
