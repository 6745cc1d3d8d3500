from functools import partial

import pytest

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
