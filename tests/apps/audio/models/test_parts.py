"""Legendre memories and adapters: equal to their releases, usable as a separator's layers."""

from pathlib import Path

import pytest
import torch

from apps.audio.models.goldens import GOLDENS
from apps.audio.models.layers import LayerStack
from apps.audio.models.lmuformer import LMUFormerLayer
from apps.audio.models.waveform import MaskNetwork, SeparationNetwork
from core.norms import FrameNorm
from core.verify import read, verify

FOLDER = Path(__file__).parents[3] / "golden"
SYSTEMS = ("ast_adapters", "lmu", "lmuformer")
FILES = sorted(path for system in SYSTEMS for path in (FOLDER / system).glob("*.safetensors"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_equals_the_release(path):
    results = verify(path, GOLDENS[path.parent.name][read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_every_class_has_a_golden():
    assert {read(path)[0].cls for path in FILES} == {cls for system in SYSTEMS for cls in GOLDENS[system]}


def network():
    torch.manual_seed(0)
    layers = [LMUFormerLayer(8, theta=20.0) for _ in range(2)]
    masks = MaskNetwork(8, 8, LayerStack(8, layers, FrameNorm(8)), norm=FrameNorm)
    return SeparationNetwork(masks, 8, kernel=8).double()


def test_as_layers_of_a_separator_a_clip_in_a_batch_is_what_it_is_alone():
    separator, lengths = network(), torch.tensor([400, 77])
    separator.train()
    separator(torch.randn(3, 500, dtype=torch.float64))
    separator.eval()
    clips = torch.randn(2, 400, dtype=torch.float64)
    together = separator(clips, lengths)
    for row, clip, length in zip(together, clips, lengths.tolist(), strict=True):
        torch.testing.assert_close(row[:, :length], separator(clip[None, :length])[0])


def test_padding_does_not_enter_the_statistics():
    lengths, clips = torch.tensor([400, 77]), torch.randn(2, 400, dtype=torch.float64)
    found = []
    for garbage in (0.0, 1e3):
        separator = network().train()
        mixture = clips.clone()
        mixture[1, 77:] = garbage
        found.append((separator(mixture, lengths), dict(separator.named_buffers())))
    torch.testing.assert_close(found[0], found[1])


def test_it_does_not_look_ahead():
    separator = network().eval()
    clip = torch.randn(1, 400, dtype=torch.float64)
    later = clip.clone()
    later[:, 200:] += 1
    torch.testing.assert_close(separator(later)[..., :192], separator(clip)[..., :192])
