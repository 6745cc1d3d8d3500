import pytest
import torch

from core.mixers import ReducedAttention
from core.testing import Case, check_mixer

DIM, HEADS = 8, 2


def by_definition(mixer, x):
    """Every patch by itself, filled up with zeros; then plain attention."""
    parts, reduce = mixer.attention, mixer.reduce
    tokens = x
    if reduce is not None:
        (a, b), (height, width) = reduce.patch, x.shape[1:3]
        rows = []
        for top in range(0, height, a):
            for left in range(0, width, b):
                patch = x.new_zeros(len(x), a, b, DIM)
                part = x[:, top : top + a, left : left + b]
                patch[:, : part.shape[1], : part.shape[2]] = part
                rows.append(torch.einsum("bhwc,ochw->bo", patch, reduce.proj.weight) + reduce.proj.bias)
        tokens = reduce.norm(torch.stack(rows, 1))
    q, k, v = (
        p(t.reshape(len(x), -1, DIM)).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        for p, t in ((parts.q, x), (parts.k, tokens), (parts.v, tokens))
    )
    weights = (q @ k.mT * (DIM // HEADS) ** -0.5).softmax(-1)
    return parts.out((weights @ v).transpose(1, 2).flatten(2)).view_as(x)


MAPS = [(1, 1), (3, 4), (5, 7)]
CASES = {
    "patches": Case(lambda: ReducedAttention(DIM, HEADS, (3, 2)), DIM, MAPS, by_definition),
    "tokens": Case(lambda: ReducedAttention(DIM, HEADS, (1, 1)), DIM, MAPS, by_definition),
    "official": Case(
        lambda: ReducedAttention(DIM, HEADS, (2, 2), bias=False, official=True), DIM, [(2, 2), (5, 7)], without=["mask"]
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_properties(case):
    check_mixer(*case)


def test_release_leaves_a_border_out():
    torch.manual_seed(0)
    mixer = ReducedAttention(DIM, HEADS, (3, 3), official=True).double()
    x = torch.randn(1, 7, 8, DIM).double()
    y = mixer(x)
    x[:, 6], x[:, :, 6:] = 9.0, 9.0
    torch.testing.assert_close(mixer(x)[:, :6, :6], y[:, :6, :6])
    with pytest.raises(ValueError, match="holds no patch"):
        mixer(x[:, :2])
