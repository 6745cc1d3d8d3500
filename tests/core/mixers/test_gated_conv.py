from functools import partial

import pytest
import torch

from core.mixers import DepthwiseConv, GlobalLocalFilter, RecursiveGatedConv
from core.testing import Case, check_mixer


def by_definition(mixer, x):
    fused = mixer.enter(x)
    widths = mixer.widths
    gates = mixer.scale * mixer.conv(fused[..., widths[0] :])
    y, start = fused[..., : widths[0]], 0
    for number, width in enumerate(widths):
        if number:
            y = mixer.steps[number - 1](y)
        y = y * gates[..., start : start + width]
        start += width
    return mixer.leave(y)


# Products of normal numbers are small at the start.
MAPS = [(1, 1), (3, 6)]
CASES = {
    "near": Case(lambda: RecursiveGatedConv(8, 3, scale=0.5), 8, MAPS, by_definition, variance=None),
    "one order": Case(lambda: RecursiveGatedConv(4, 1), 4, MAPS, by_definition, variance=None),
    "sequence": Case(
        lambda: RecursiveGatedConv(4, 2, make_conv=partial(DepthwiseConv, kernel=(3,))),
        4,
        [(1,), (7,)],
        by_definition,
        variance=None,
    ),
    "frequencies": Case(
        lambda: RecursiveGatedConv(8, 2, make_conv=partial(GlobalLocalFilter, spectrum=(4, 3))),
        8,
        MAPS,
        by_definition,
        variance=None,
        without=("mask",),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_refuses_widths_that_do_not_halve():
    with pytest.raises(ValueError, match="divides"):
        RecursiveGatedConv(6, 3)


def filter_by_definition(mixer, x):
    """The circular convolution with the kernel that the filter is the spectrum of, place by place."""
    height, width = x.shape[1:3]
    normed = mixer.norm(x)
    half = x.shape[-1] // 2
    full = torch.view_as_complex(mixer.filter).movedim(0, -1)
    kernel = torch.fft.irfft2(full, s=(height, width), dim=(0, 1))
    far = torch.zeros_like(normed[..., half:])
    for a in range(height):
        for b in range(width):
            far = far + kernel[a, b] * normed[..., half:].roll((a, b), (1, 2))
    near = mixer.local(normed[..., :half])
    return mixer.norm_after(torch.stack([near, far], -1).flatten(-2))


def test_filter_is_a_circular_convolution():
    check_mixer(lambda: GlobalLocalFilter(4, (4, 3)), 4, [(4, 5), (4, 4)], filter_by_definition, variance=None)
    check_mixer(lambda: GlobalLocalFilter(4, (4, 3)), 4, [(1, 1), (3, 7)], variance=None)


def test_filter_refuses_what_it_cannot_halve():
    with pytest.raises(ValueError, match="even"):
        GlobalLocalFilter(3)
    with pytest.raises(ValueError, match="give maps"):
        GlobalLocalFilter(4)(torch.zeros(1, 4, 4))
