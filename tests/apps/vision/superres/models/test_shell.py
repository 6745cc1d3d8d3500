"""The shell of restoration networks: padding, value range, upsamplers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from apps.vision.superres.models.shell import (
    DirectUpsampler,
    NearestUpsampler,
    Refiner,
    Shell,
    ShuffleUpsampler,
    TokenConv,
    ValueRange,
    pixel_shuffle,
    reflect,
    symmetric_full,
)


def shell(upsampler, **changes):
    torch.manual_seed(0)
    arguments = {"channels": 3, "dim": 8, "join": nn.Identity(), "multiple": 4} | changes
    return Shell(nn.Identity(), upsampler, **arguments)


def test_reflect_mirrors_without_the_edge_as_often_as_needed():
    x = torch.randn(1, 2, 9, 7)
    assert torch.equal(reflect(x, 4), F.pad(x, (0, 1, 0, 3), mode="reflect"))
    assert reflect(x, 1) is x
    row = torch.arange(3.0).view(1, 1, 1, 3)
    assert reflect(row, 8)[0, 0, 0].tolist() == [0, 1, 2, 1, 0, 1, 2, 1]
    assert not reflect(torch.zeros(1, 1, 1, 1), 8).any()


def test_symmetric_full_repeats_the_edge_and_always_adds():
    row = torch.arange(3.0).view(1, 1, 1, 3)
    assert symmetric_full(row, 4)[0, 0, 0].tolist() == [0, 1, 2, 2]
    assert symmetric_full(row, 3)[0, 0, 0].tolist() == [0, 1, 2, 2, 1, 0]
    assert symmetric_full(row[..., :1], 5).shape == (1, 1, 5, 5)
    x = torch.randn(2, 3, 8, 5)
    flipped = torch.cat([x, x.flip(2)], 2)[:, :, :16]
    flipped = torch.cat([flipped, flipped.flip(3)], 3)[..., :8]
    assert torch.equal(symmetric_full(x, 8), flipped)


def test_range_and_back():
    image = torch.rand(1, 3, 2, 2)
    ours = ValueRange(3, 255.0)
    torch.testing.assert_close(
        ours.enter(image)[0, :, 0, 0], 255 * (image[0, :, 0, 0] - torch.tensor([0.4488, 0.4371, 0.404]))
    )
    torch.testing.assert_close(ours.leave(ours.enter(image)), image)
    assert torch.equal(ValueRange(1).enter(image[:, :1]), image[:, :1])
    assert not ours.state_dict()


@pytest.mark.parametrize("factor", [2, 3])
def test_pixel_shuffle_of_tokens_is_that_of_images(factor):
    x = torch.randn(2, 4, 5, 3 * factor**2)
    torch.testing.assert_close(
        pixel_shuffle(x, factor).permute(0, 3, 1, 2), F.pixel_shuffle(x.permute(0, 3, 1, 2), factor)
    )


def test_convolution_of_tokens_copies_nothing():
    conv = TokenConv(16, 8, 3, padding=1)
    x = torch.randn(2, 6, 5, 16)
    assert conv(x).is_contiguous()
    torch.testing.assert_close(
        conv(x).permute(0, 3, 1, 2), F.conv2d(x.permute(0, 3, 1, 2), conv.weight, conv.bias, padding=1)
    )


@pytest.mark.parametrize(
    ("make", "scales"),
    [(ShuffleUpsampler, (1, 2, 3, 4, 8)), (DirectUpsampler, (1, 2, 3, 5)), (NearestUpsampler, (2, 4)), (Refiner, (1,))],
)
@pytest.mark.parametrize("size", [(1, 1), (9, 2)])
@pytest.mark.parametrize("pad", [reflect, symmetric_full])
def test_any_size(make, scales, size, pad):
    for scale in scales:
        assert shell(make(8, 3, scale), pad=pad)(torch.rand(2, 3, *size)).shape == (
            2,
            3,
            scale * size[0],
            scale * size[1],
        )


@pytest.mark.parametrize(
    ("make", "scale"), [(ShuffleUpsampler, 6), (NearestUpsampler, 3), (Refiner, 2), (NearestUpsampler, 1)]
)
def test_scales_that_are_no_steps_are_refused(make, scale):
    with pytest.raises(ValueError, match=f"scale {scale}"):
        make(8, 3, scale)


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (3, 8, 8), (1, 3, 0, 8)])
def test_other_images_are_refused(shape):
    with pytest.raises(ValueError, match=r"give \(B, 3, H, W\)"):
        shell(Refiner(8, 3))(torch.rand(shape))
