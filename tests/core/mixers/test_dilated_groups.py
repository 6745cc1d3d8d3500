from itertools import product

import pytest
import torch

from core.mixers import DilatedGroupAttention
from core.testing import Case, check_mixer

DIM, HEADS = 8, 2
VOLUMES = [(1, 1, 1), (1, 4, 2), (3, 5, 4)]


def by_definition(mixer, x):
    """Every group by itself, from the numbers of its tokens on each axis."""
    parts, grid, group = mixer.groups, x.shape[1:-1], mixer.group
    axes = []
    for length, size in zip(grid, group, strict=True):
        if all(n < g for n, g in zip(grid[-2:], group[-2:], strict=True)):
            axes.append([list(range(length))])
        elif mixer.interval is None:
            axes.append([list(range(length))[s : s + size] for s in range(0, length, size)])
        else:
            filled = length if length % mixer.interval == 0 else length + mixer.interval - length % mixer.interval
            step = max(filled // size, 1)
            axes.append([[i for i in range(length) if i % step == r] for r in range(min(step, length))])
    y = torch.empty_like(x)
    for combination in product(*axes):
        places = torch.tensor(list(product(*combination))).unbind(1)
        tokens = x[(slice(None), *places)]
        q, k, v = (p(tokens).unflatten(-1, (HEADS, -1)).transpose(1, 2) for p in (parts.q, parts.k, parts.v))
        weights = (q @ k.mT * (DIM // HEADS) ** -0.5).softmax(-1)
        y[(slice(None), *places)] = parts.out((weights @ v).transpose(1, 2).flatten(2))
    return y


CASES = {
    "local": Case(lambda: DilatedGroupAttention(DIM, HEADS, (2, 3, 3)), DIM, VOLUMES, by_definition),
    "dilated": Case(lambda: DilatedGroupAttention(DIM, HEADS, (2, 2, 3), 4), DIM, VOLUMES, by_definition),
    "map": Case(lambda: DilatedGroupAttention(DIM, HEADS, (2, 2), 3), DIM, [(1, 1), (7, 4)], by_definition),
    "official": Case(lambda: DilatedGroupAttention(DIM, HEADS, (2, 2, 2), 2, official=True), DIM, [(3, 4, 2)]),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_properties(case):
    check_mixer(*case)


def test_what_the_release_fills_up_attends_only_where_the_first_axis_alone_is_filled():
    torch.manual_seed(0)
    ours, theirs = (DilatedGroupAttention(DIM, HEADS, (2, 2, 2), 2, official=official) for official in (False, True))
    theirs.load_state_dict(ours.state_dict())
    for grid, alike in (((3, 4, 4), False), ((4, 4, 4), True), ((3, 3, 4), True)):
        x = torch.randn(1, *grid, DIM)
        assert torch.allclose(ours(x), theirs(x), atol=1e-6) == alike


def test_a_small_map_leaves_no_trace():
    torch.manual_seed(0)
    mixer = DilatedGroupAttention(DIM, HEADS, (2, 4, 4), 2)
    x = torch.randn(1, 4, 4, 6, DIM)
    before = mixer(x)
    mixer(x[:, :, :2, :2])
    torch.testing.assert_close(mixer(x), before, rtol=0, atol=0)


@pytest.mark.parametrize("what", ["rank", "sizes"])
def test_errors(what):
    if what == "rank":
        with pytest.raises(ValueError, match="one size a grid axis"):
            DilatedGroupAttention(DIM, HEADS, (2, 2, 2))(torch.randn(1, 4, 4, DIM))
    else:
        with pytest.raises(ValueError, match="from 1 on"):
            DilatedGroupAttention(DIM, HEADS, (2, 2, 2), 0)
