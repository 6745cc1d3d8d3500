"""Patches of log-mel spectrograms: any length, padding without a trace, pre-training that learns."""

import math

import pytest
import torch

from apps.audio.models.patch_encoder import PatchEncoder, log_mel
from core.masked_prediction import MaskedPrediction


def encoder(**options):
    torch.manual_seed(0)
    return PatchEncoder(16, 2, heads=2, hidden=24, **options)


@pytest.mark.parametrize("patch", [(16, 16), (2, 32)])
def test_a_clip_in_a_batch_is_what_it_is_alone(patch):
    network = encoder(patch=patch).double()
    lengths = torch.tensor([50, 7, 33])
    mask = torch.arange(50) < lengths[:, None]
    features = torch.randn(3, 50, 32, dtype=torch.float64).masked_fill(~mask[..., None], torch.nan)
    tokens, real = network(features, mask)
    assert tokens.shape == (3, -(-50 // patch[0]), 32 // patch[1], 16) and not tokens[~real].any()
    for row, place, clip, length in zip(tokens, real, features, lengths.tolist(), strict=True):
        alone, none = network(clip[None, :length])
        assert none is None
        torch.testing.assert_close(row[place], alone[0].flatten(0, 1))


@pytest.mark.parametrize("samples", [1, 100, 400, 8000])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_log_mel_of_any_length(samples, rate):
    features = log_mel(torch.randn(samples), rate, bins=40)
    # 25 ms every 10 ms, none beyond the end.
    window, hop = rate * 25 // 1000, rate // 100
    assert features.shape == (max(samples - window, 0) // hop + 1, 40) and features.isfinite().all()


def test_a_tone_is_loudest_in_its_band():
    time = torch.arange(8000) / 8000
    bands = [
        log_mel(torch.sin(2 * math.pi * f * time), 8000, bins=40).mean(0).argmax().item() for f in (200, 800, 3000)
    ]
    assert bands == sorted(bands) and len(set(bands)) == 3
    # A constant is silence, and silence is finite.
    assert log_mel(torch.full((8000,), 0.5), 8000).isfinite().all()


def test_what_is_no_waveform():
    with pytest.raises(ValueError, match=r"give \(samples,\)"):
        log_mel(torch.zeros(2, 100), 8000)


def test_pre_training_learns_to_tell_and_to_draw():
    """The same map at another level in every clip: a patch follows from its place and the patches that are seen."""
    torch.manual_seed(0)
    model = MaskedPrediction(encoder(patch=(4, 4)), 16, share=0.4, clusters=(1, 2))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(32, 16, 1, generator=generator)
    history = []
    for _ in range(120):
        clips = shared * (0.5 + torch.rand(8, 1, 1, 1, generator=generator))
        result = model(clips, generator=generator)
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        history.append([result.contrast.item(), result.error.item(), result.accuracy.item()])
    first, last = torch.tensor(history[:10]).mean(0), torch.tensor(history[-10:]).mean(0)
    assert last[0] < 0.5 * first[0] and last[1] < 0.7 * first[1] and last[2] > 0.7
