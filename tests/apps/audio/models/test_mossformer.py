"""MossFormer and MossFormer2: equal to their releases, any length, each clip alone as in a batch."""

from functools import partial
from pathlib import Path

import pytest
import torch

from apps.audio.models import (
    MossFormer,
    MossFormer2,
    mossformer2,
    mossformer_large,
    mossformer_medium,
    mossformer_small,
)
from apps.audio.models.goldens_mossformer import MOSSFORMER, MOSSFORMER2
from core.norms import FrameNorm, InstanceNorm
from core.verify import read, verify

FOLDER = Path(__file__).parents[3] / "golden"
TABLES = {"mossformer": MOSSFORMER, "mossformer2": MOSSFORMER2}
GOLDENS = sorted(path for system in TABLES for path in (FOLDER / system).glob("*.safetensors"))
SMALL = {"dim": 12, "depth": 2, "key_dim": 8, "group": 40, "dropout": 0.0}
NETWORKS = {
    "mossformer": partial(MossFormer, **SMALL),
    "mossformer, per frame": partial(MossFormer, **SMALL, norm=FrameNorm),
    "mossformer, causal": partial(MossFormer, **SMALL, causal=True),
    "mossformer2": partial(MossFormer2, **SMALL, inner=6, order=5),
    "mossformer2, 3 speakers": partial(MossFormer2, **SMALL, inner=6, speakers=3, norm=InstanceNorm, channels=10),
    "mossformer2, mapping": partial(MossFormer2, **SMALL, inner=6, mapping=True, kernel=32, stride=12),
}


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_equals_the_release(path):
    results = verify(path, TABLES[path.parent.name][read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_every_class_has_a_golden():
    for system, table in TABLES.items():
        assert {read(path)[0].cls for path in (FOLDER / system).glob("*.safetensors")} == set(table)


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (mossformer_small, 10_808_135),
        (mossformer_medium, 25_195_341),
        (mossformer_large, 42_101_834),
        (mossformer2, 55_735_394),
        (partial(mossformer2, 3), 55_998_050),
    ],
)
def test_number_of_parameters(make, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in make().parameters()) == count


def test_settings_that_the_output_of_a_whole_network_hardly_shows():
    with torch.device("meta"):
        for network in (mossformer_large(), mossformer2()):
            separator = network.masks.separator
            assert separator.frame_norm.eps == 1e-6 and separator.norm.eps == network.masks.norm.eps == 1e-8
            for layer in separator.layers:
                attention = layer.attention
                assert attention.group == 256 and attention.scale.shape == (4, 128) and attention.shift
                assert attention.dropout == attention.values.dropout == attention.out.dropout == 0.1
        assert layer.memory.memory.convs[1].shape == (512, 1, 39) and layer.memory.to_gate.dropout == 0.1
        assert (network.kernel, network.stride, network.mapping) == (16, 8, False)


def fresh(name, **changes):
    """A network whose attention counts: as drawn, its keys are almost nothing."""
    torch.manual_seed(0)
    network = NETWORKS[name](**changes).double()
    for key, parameter in network.named_parameters():
        if key.endswith(("attention.scale", "attention.offset")):
            torch.nn.init.normal_(parameter)
        elif not key.endswith("weight") or parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return network


@pytest.mark.parametrize("name", NETWORKS)
def test_a_clip_in_a_batch_is_what_it_is_alone(name):
    network = fresh(name)
    lengths = torch.tensor([1600, 4000, 7, 2403])
    clips = [torch.randn(length, dtype=torch.float64) for length in lengths.tolist()]
    batch = torch.full((len(clips), 4000), torch.nan, dtype=torch.float64)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    batch.requires_grad_()
    y = network(batch, lengths)
    probes = [torch.randn(network.masks.speakers, len(clip), dtype=torch.float64) for clip in clips]
    together = sum((row[:, : p.shape[1]] * p).sum() for row, p in zip(y, probes, strict=True))
    together.backward()
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


def test_clips_of_a_fifth_of_a_second_to_three_in_single_precision():
    network = fresh("mossformer2").float().eval()
    lengths = torch.tensor([1600, 24000, 9001, 16384])
    batch = torch.randn(4, 24000)
    with torch.no_grad():
        y = network(batch, lengths)
        for row, clip, length in zip(y, batch, lengths.tolist(), strict=True):
            alone = network(clip[None, :length])[0]
            assert (row[:, :length] - alone).norm() < 1e-5 * alone.norm()


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("name", ["mossformer", "mossformer2", "mossformer2, mapping"])
def test_any_length_from_one_sample_up(name, official):
    network = fresh(name, official=official)
    for length in (1, 2, 7, 15, 16, 17, 31, 32, 33, 100, 331):
        clip = torch.randn(2, length, dtype=torch.float64, requires_grad=True)
        y = network(clip)
        assert y.shape == (2, 2, length) and y.isfinite().all()
        y.square().sum().backward()
        assert clip.grad.isfinite().all()
        torch.testing.assert_close(network(clip[:1]), y[:1])


def test_every_sample_counts_and_the_releases_last_ones_do_not():
    clip = torch.randn(1, 93, dtype=torch.float64, requires_grad=True)
    for official in (False, True):
        network = fresh("mossformer", official=official)
        y = network(clip)
        reached = torch.autograd.grad(y.square().sum(), clip)[0][0]
        assert (reached[-5:] != 0).all() is not official and (reached[-5:] == 0).all().item() is official
        assert y[..., -5:].any().item() is not official


@pytest.mark.parametrize("name", ["mossformer", "mossformer2"])
def test_louder_in_is_louder_out(name):
    network, clip = fresh(name), torch.randn(1, 500, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(10 * clip), 10 * network(clip), rtol=1e-4, atol=1e-6)
        assert not network(torch.zeros(1, 500, dtype=torch.float64)).any()


@pytest.mark.parametrize("name", ["mossformer", "mossformer2"])
def test_half_precision_inside_keeps_sound_whole(name):
    network, lengths = fresh(name).float(), torch.tensor([900, 500])
    clips = torch.randn(2, 900)
    expected = network(clips, lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = network(clips, lengths)
    assert y.dtype == torch.float32 and (y - expected).norm() < 0.05 * expected.norm()
    y.square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_a_causal_network_does_not_look_ahead():
    network = fresh("mossformer, causal", norm=FrameNorm)
    clip = torch.randn(1, 800, dtype=torch.float64)
    later = clip.clone()
    later[:, 400:] += 1
    with torch.no_grad():
        # A sample waits for the end of its last frame.
        torch.testing.assert_close(network(later)[..., :384], network(clip)[..., :384])


def test_recomputing_changes_nothing():
    clip = torch.randn(2, 300, dtype=torch.float64)
    gradients = []
    for recompute in (False, True):
        network = fresh("mossformer2", recompute=recompute, dropout=0.1)
        torch.manual_seed(1)
        network(clip, torch.tensor([300, 120])).square().sum().backward()
        gradients.append([p.grad for p in network.parameters()])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("mixture", "lengths", "sentence"),
    [
        (torch.zeros(100), None, "give \\(batch, samples\\)"),
        (torch.zeros(2, 0), None, "one sample at least"),
        (torch.zeros(2, 2, 100), None, "give \\(batch, samples\\)"),
        (torch.zeros(2, 100), torch.tensor([100]), "one number for each of 2 clips"),
        (torch.zeros(2, 100), torch.tensor([100, 0]), "give 1 to that many"),
        (torch.zeros(2, 100), torch.tensor([100, 101]), "padded to 100"),
    ],
)
def test_what_cannot_be_is_said(mixture, lengths, sentence):
    with pytest.raises(ValueError, match=sentence):
        NETWORKS["mossformer"]()(mixture, lengths)
