import pytest
import torch
from torch.nn import functional as F

from core.mixers import PooledAttention
from core.testing import Case, check_mixer

DIM, HEADS = 8, 2


def by_definition(mixer, x):
    """Every pooled token by itself, from the tokens that adaptive pooling gives it."""
    rows = []
    for ratio, local in zip(mixer.ratios, mixer.local, strict=True):
        size = mixer.sizes(tuple(x.shape[1:3]), ratio)
        pooled = x.new_empty(len(x), *size, DIM)
        for i in range(size[0]):
            for j in range(size[1]):
                (a, b), (c, d) = (
                    (k * n // s, -(-(k + 1) * n // s)) for k, n, s in zip((i, j), x.shape[1:3], size, strict=True)
                )
                pooled[:, i, j] = x[:, a:b, c:d].amax((1, 2))
        wide = F.pad(pooled, (0, 0, 1, 1, 1, 1))
        near = sum(
            wide[:, i : i + size[0], j : j + size[1]] * local.weight[:, 0, i, j] for i in range(3) for j in range(3)
        )
        rows.append((pooled + near + local.bias).flatten(1, 2))
    tokens = mixer.norm(torch.cat(rows, 1))
    q, k, v = (
        p(t).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        for p, t in ((mixer.q, x.flatten(1, 2)), (mixer.k, tokens), (mixer.v, tokens))
    )
    weights = (q @ k.mT * (DIM // HEADS) ** -0.5).softmax(-1)
    return mixer.out((weights @ v).transpose(1, 2).flatten(2)).view_as(x)


MAPS = [(1, 1), (3, 4), (5, 7)]
CASES = {
    "own size": Case(lambda: PooledAttention(DIM, HEADS), DIM, MAPS, by_definition),
    "extent": Case(lambda: PooledAttention(DIM, HEADS, (2, 3), extent=(8, 8)), DIM, MAPS, by_definition),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_properties(case):
    check_mixer(*case)


def test_sizes_follow_the_release_and_never_become_0():
    mixer = PooledAttention(DIM, HEADS, (12, 16, 20, 24), extent=(64, 64))
    assert [mixer.sizes((14, 18), r) for r in mixer.ratios] == [(5, 6), (4, 4), (4, 3), (3, 3)]
    assert PooledAttention(DIM, HEADS, (24,), extent=(2, 2)).sizes((1, 40), 24) == (1, 1)


def test_another_map():
    torch.manual_seed(0)
    mixer = PooledAttention(DIM, HEADS, (1, 2)).double()
    x, other = torch.randn(2, 3, 4, DIM).double(), torch.randn(2, 5, 2, DIM).double()
    y = mixer.among(x, other)
    torch.testing.assert_close(mixer.among(x[:, :1, 2:3], other), y[:, :1, 2:3])
    assert not torch.allclose(y, mixer(x))


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: PooledAttention(9, 2), "divides"),
        (lambda: PooledAttention(8, 2, (0,)), "from 1 on"),
        (lambda: PooledAttention(8, 2)(torch.randn(1, 4, 8)), "give maps"),
    ],
)
def test_errors(make, what):
    with pytest.raises(ValueError, match=what):
        make()
