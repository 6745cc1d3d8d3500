import pytest
import torch

from core.mixers import TokenMLP
from core.testing import Case, check_mixer

DIM = 4


def by_definition(mixer, x):
    """Channel by channel."""
    tokens = x.flatten(1, -2)
    columns = [mixer.leave(torch.nn.functional.gelu(mixer.enter(tokens[..., c]))) for c in range(DIM)]
    return torch.stack(columns, -1).view_as(x)


CASES = {
    "map": Case(lambda: TokenMLP(DIM, (3, 4), 10), DIM, [(3, 4)], by_definition),
    "sequence": Case(lambda: TokenMLP(DIM, (5,), 7), DIM, [(5,)], by_definition),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_another_map_is_refused_and_there_is_no_mask():
    mixer = TokenMLP(DIM, (3, 4), 10)
    for shape in [(1, 4, 3, DIM), (1, 12, DIM), (1, 3, 4, 5)]:
        with pytest.raises(ValueError, match="weights belong to places"):
            mixer(torch.randn(shape))
    with pytest.raises(TypeError, match="mask"):
        mixer(torch.randn(1, 3, 4, DIM), mask=torch.ones(1, 3, 4, dtype=torch.bool))
