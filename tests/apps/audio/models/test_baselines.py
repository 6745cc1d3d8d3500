"""Conv-TasNet, DPRNN and SepFormer as networks: any length, each clip alone as in a batch, one layer of precision."""

from functools import partial

import pytest
import torch

from apps.audio.models import DPRNN, ConvTasNet, SepFormer

DUAL = {"chunk": 12, "channels": 10}
NETWORKS = {
    "conv-tasnet": partial(ConvTasNet, 6, 3, repeats=2, hidden=12, channels=10),
    "conv-tasnet, fourier": partial(
        ConvTasNet, 6, 3, repeats=1, hidden=12, skip=4, channels=16, kernel=32, stride=8, spectral=True
    ),
    "dprnn": partial(DPRNN, 6, 2, hidden=5, **DUAL),
    "sepformer": partial(SepFormer, 6, 2, layers=2, heads=2, hidden=8, **DUAL),
    "sepformer, 3 speakers": partial(SepFormer, 6, 1, layers=1, heads=2, hidden=8, speakers=3, kernel=12, **DUAL),
}


def fresh(name, **changes):
    """Random weights, those of norms and biases included."""
    torch.manual_seed(0)
    network = NETWORKS[name](**changes).double()
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


@pytest.mark.parametrize("name", NETWORKS)
def test_a_clip_in_a_batch_is_what_it_is_alone(name):
    network = fresh(name)
    # 400: the silence behind the last frame fills a whole chunk in the dual-path networks.
    lengths = torch.tensor([400, 900, 1, 611])
    clips = [torch.randn(length, dtype=torch.float64) for length in lengths.tolist()]
    batch = torch.full((len(clips), 900), torch.nan, dtype=torch.float64)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    batch.requires_grad_()
    y = network(batch, lengths)
    probes = [torch.randn(network.masks.speakers, len(clip), dtype=torch.float64) for clip in clips]
    sum((row[:, : p.shape[1]] * p).sum() for row, p in zip(y, probes, strict=True)).backward()
    shared = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    for row, clip, probe, given in zip(y, clips, probes, batch.grad, strict=True):
        clip.requires_grad_()
        alone = network(clip[None])[0]
        (alone * probe).sum().backward()
        torch.testing.assert_close(row[:, : len(clip)], alone, rtol=1e-9, atol=1e-12)
        assert not row[:, len(clip) :].any() and not given[len(clip) :].any()
        torch.testing.assert_close(given[: len(clip)], clip.grad, rtol=1e-7, atol=1e-10)
    for ours, parameter in zip(shared, network.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_clips_of_a_fifth_of_a_second_and_more_in_single_precision(name):
    network = fresh(name).float().eval()
    lengths = torch.tensor([1600, 6000, 3001])
    batch = torch.randn(3, 6000)
    with torch.no_grad():
        y = network(batch, lengths)
        for row, clip, length in zip(y, batch, lengths.tolist(), strict=True):
            alone = network(clip[None, :length])[0]
            assert (row[:, :length] - alone).norm() < 1e-5 * alone.norm()


@pytest.mark.parametrize("name", NETWORKS)
def test_any_length_from_one_sample_up(name):
    network = fresh(name)
    for length in (1, 2, 7, 15, 16, 17, 31, 33, 47, 48, 49, 100, 331):
        clip = torch.randn(2, length, dtype=torch.float64, requires_grad=True)
        y = network(clip)
        assert y.shape == (2, network.masks.speakers, length) and y.isfinite().all()
        # Every sample counts, and every sample has a result.
        assert (torch.autograd.grad(y.square().sum(), clip)[0] != 0).all()
        assert y.abs().sum((0, 1)).min() > 0
        torch.testing.assert_close(network(clip[:1]), y[:1])


@pytest.mark.parametrize("name", NETWORKS)
def test_silence_and_loudness(name):
    network, clip = fresh(name), torch.randn(1, 500, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(10 * clip), 10 * network(clip), rtol=1e-4, atol=1e-5)
        assert not network(torch.zeros(2, 500, dtype=torch.float64)).any()


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_inside_keeps_sound_whole(name):
    network, lengths = fresh(name).float(), torch.tensor([900, 500])
    clips = torch.randn(2, 900)
    expected = network(clips, lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = network(clips, lengths)
    assert y.dtype == torch.float32 and (y - expected).norm() < 0.05 * expected.norm()
    y.square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_what_cannot_be_is_said(name):
    network = NETWORKS[name]()
    with pytest.raises(ValueError, match="one sample at least"):
        network(torch.zeros(2, 0))
    with pytest.raises(ValueError, match="padded to 100"):
        network(torch.zeros(2, 100), torch.tensor([100, 101]))
