import pytest
import torch

from core.mixers import Pooling
from core.testing import Case, check_mixer

DIM = 4


def by_definition(mixer, x):
    """Mean over the neighbours that exist, minus the token."""
    rank = x.ndim - 2
    out = torch.zeros_like(x)
    for place in torch.cartesian_prod(*(torch.arange(n) for n in x.shape[1:-1])).view(-1, rank).tolist():
        near = tuple(slice(max(p - k // 2, 0), p + k // 2 + 1) for p, k in zip(place, mixer.kernel, strict=True))
        mean = x[(slice(None), *near)].flatten(1, -2).mean(1)
        out[(slice(None), *place)] = mean - x[(slice(None), *place)]
    return out


CASES = {
    "map": Case(lambda: Pooling(DIM), DIM, [(1, 1), (3, 4), (5, 7)], by_definition),
    "sequence": Case(lambda: Pooling(DIM, (5,)), DIM, [(1,), (2,), (9,)], by_definition),
    "volume": Case(lambda: Pooling(DIM, (3, 1, 3)), DIM, [(1, 1, 1), (3, 2, 4)], by_definition),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="odd sizes"):
        Pooling(DIM, (2, 3))
    with pytest.raises(ValueError, match="one kernel size a grid axis"):
        Pooling(DIM)(torch.randn(1, 5, DIM))
