import pytest
import torch

from core.layout import grid_of
from core.mixers import DynamicFilter
from core.ops.depthwise import depthwise_reference
from core.ops.dynamic_filter import dynamic_filter_reference
from core.testing import Case, check_mixer

DIM = 8


def by_definition(mixer, x):
    source = depthwise_reference(mixer.reduce(x), mixer.near.weight, mixer.near.bias)
    weight = mixer.weights(source).view(len(x), *grid_of(x), mixer.groups, mixer.kernel, mixer.kernel)
    return dynamic_filter_reference(x, weight)


MAPS = [(1, 1), (2, 5), (6, 7)]
CASES = {
    "7 x 7": Case(lambda: DynamicFilter(DIM, 2), DIM, MAPS, by_definition),
    "one group, 3 x 3": Case(
        lambda: DynamicFilter(DIM, 1, kernel=3, reduction=2, bias=False), DIM, MAPS, by_definition
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_without_gradients_the_same():
    mixer, x = DynamicFilter(DIM, 4).double(), torch.randn(2, 5, 6, DIM, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), by_definition(mixer, x))


@pytest.mark.parametrize(("groups", "kernel", "reduction"), [(3, 7, 4), (2, 4, 4), (2, 3, 16)])
def test_what_cannot_be_is_said(groups, kernel, reduction):
    with pytest.raises(ValueError, match="groups that divide dim"):
        DynamicFilter(DIM, groups, kernel=kernel, reduction=reduction)
