"""Heads over any pyramid: sizes that do not divide, SegFormer's saving against its definition."""

import pytest
import torch
from torch.nn import functional as F

from apps.vision.backbones.convnext import ConvNeXt
from apps.vision.segmentation.models import (
    ActivatedSegFormerHead,
    EncoderDecoder,
    FCNHead,
    SegFormerHead,
    SemanticFPNHead,
    UPerHead,
)

CHANNELS = [4, 6, 8, 10]


def features(height, width, dtype=torch.float64):
    torch.manual_seed(0)
    sizes = [(-(-height // s), -(-width // s)) for s in (4, 8, 16, 32)]
    return [torch.randn(2, *size, c, dtype=dtype) for size, c in zip(sizes, CHANNELS, strict=True)]


def test_folded_segformer_head_is_the_release_form():
    torch.manual_seed(1)
    head = SegFormerHead(CHANNELS, 3, 12, dropout=0.0).double().train()
    maps = [x.requires_grad_() for x in features(61, 97)]
    ours = head(maps)
    probe = torch.randn_like(ours)
    parameters = [*head.parameters(), *maps]
    found = torch.autograd.grad((ours * probe).sum(), parameters)
    levels = [level(x).movedim(-1, 1) for level, x in zip(head.levels, maps, strict=True)]
    size = levels[0].shape[-2:]
    levels = [F.interpolate(y, size, mode="bilinear", align_corners=False) for y in levels]
    theirs = head.out(F.relu(head.fuse.norm(head.fuse.conv(torch.cat(levels[::-1], 1)))))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    expected = torch.autograd.grad((theirs * probe).sum(), parameters)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


HEADS = {
    "segformer": lambda c, k: SegFormerHead(c, k, 8),
    "activated segformer": lambda c, k: ActivatedSegFormerHead(c, k, 8),
    "upernet": lambda c, k: UPerHead(c, k, 8),
    "semantic fpn": lambda c, k: SemanticFPNHead(c, k, 8, 8),
    "fcn": lambda c, k: FCNHead(c, k, 8),
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("size", [(1, 1), (7, 33), (64, 32), (97, 61)])
def test_any_size(name, size):
    head = HEADS[name](CHANNELS, 3).double().eval()
    level = 2 if name == "fcn" else 0
    maps = features(*size)
    assert head(maps).shape == (2, 3, *maps[level].shape[1:3])


def test_logits_have_the_size_of_the_image_and_the_helper_is_for_training():
    torch.manual_seed(0)
    net = EncoderDecoder(3, ConvNeXt((1, 1, 1, 1), (4, 6, 8, 10)), HEADS["segformer"], HEADS["fcn"])
    x = torch.randn(2, 3, 33, 50)
    made = net.train()(x)
    assert made.main.shape == (2, 3, 33, 50) and [y.shape for y in made.others] == [(2, 3, 33, 50)]
    assert net.eval()(x).others == ()
