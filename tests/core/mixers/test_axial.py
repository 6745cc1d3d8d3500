import pytest
import torch

from core.mixers import AxialAttention
from core.positions import RelativeTable
from core.testing import Case, check_mixer

DIM, HEADS = 8, 2


def by_definition(mixer, x):
    """Attention of every row (column) by itself."""
    axis = mixer.partition.axis % (x.ndim - 2) + 1
    lines = x.movedim(axis, -2)
    parts = mixer.groups
    q, k, v = (p(lines).unflatten(-1, (HEADS, -1)).transpose(-3, -2) for p in (parts.q, parts.k, parts.v))
    weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
    return parts.out((weights @ v).transpose(-3, -2).flatten(-2)).movedim(-2, axis)


CASES = {
    "rows": Case(lambda: AxialAttention(DIM, HEADS, -1), DIM, [(1,), (3, 4), (2, 3, 5)], by_definition),
    "columns": Case(lambda: AxialAttention(DIM, HEADS, 0), DIM, [(1, 1), (3, 4), (7, 5)], by_definition),
    "with a table": Case(
        lambda: AxialAttention(DIM, HEADS, 1, score_bias=RelativeTable(HEADS, (1, 9))), DIM, [(1, 1), (3, 4), (2, 7)]
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_axis_beyond_the_grid_is_named():
    with pytest.raises(ValueError, match="give one from -1 to 0"):
        AxialAttention(DIM, HEADS, 1)(torch.randn(1, 3, DIM))
