import pytest
import torch

from core.mixers import DepthwiseConv
from core.ops.depthwise import depthwise, depthwise_reference
from core.testing import Case, check_mixer

DIM = 4


def by_definition(mixer, x):
    return depthwise_reference(x, mixer.weight, mixer.bias, causal=mixer.causal)


CASES = {
    "map": Case(lambda: DepthwiseConv(DIM), DIM, [(1, 1), (3, 4), (5, 7)], by_definition),
    "even, sequence": Case(lambda: DepthwiseConv(DIM, (4,), bias=False), DIM, [(1,), (2,), (9,)], by_definition),
    "long": Case(lambda: DepthwiseConv(DIM, (9,)), DIM, [(1,), (4,), (12,)], by_definition),
    "volume": Case(lambda: DepthwiseConv(DIM, (3, 1, 3)), DIM, [(1, 1, 1), (3, 2, 4)], by_definition),
    "causal": Case(
        lambda: DepthwiseConv(DIM, (4,), causal=True), DIM, [(1,), (2,), (9,)], by_definition, isolates_nan=True
    ),
    "causal, long": Case(
        lambda: DepthwiseConv(DIM, (9,), causal=True), DIM, [(1,), (12,)], by_definition, isolates_nan=True
    ),
    "pointwise": Case(lambda: DepthwiseConv(DIM, (1,), causal=True), DIM, [(1,), (5,)], by_definition),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="for sequences"):
        DepthwiseConv(DIM, (3, 3), causal=True)
    with pytest.raises(ValueError, match="flatten it to a sequence"):
        depthwise(torch.randn(1, 2, 2, DIM), torch.randn(DIM, 1, 3, 3), causal=True)
    with pytest.raises(ValueError, match="step needs causal=True"):
        DepthwiseConv(DIM, (3,)).initial_state(1)
    with pytest.raises(ValueError, match="one kernel size a grid axis"):
        DepthwiseConv(DIM)(torch.randn(1, 5, DIM))
