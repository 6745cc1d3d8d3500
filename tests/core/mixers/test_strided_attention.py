import pytest
import torch

from core.layout import coordinates
from core.mixers import StridedAttention, WindowAttention
from core.positions import DynamicBias
from core.testing import Case, check_mixer

DIM, HEADS = 8, 2


def by_definition(mixer, x):
    """Scores of the whole map; pairs of different groups are forbidden, the table is read pair by pair."""
    grid = x.shape[1:-1]
    steps = [1 if n <= w else i for n, w, i in zip(grid, mixer.window, mixer.interval, strict=True)]
    rows = []
    for place in coordinates(grid).flatten(0, -2).long().tolist():
        cells = [(p // (w * i), p % i, p % (w * i) // i) for p, w, i in zip(place, mixer.window, steps, strict=True)]
        rows.append(([c[:2] for c in cells], [c[2] for c in cells]))
    parts = mixer.groups
    q, k, v = (p(x.flatten(1, -2)).unflatten(-1, (HEADS, -1)).transpose(1, 2) for p in (parts.q, parts.k, parts.v))
    table, lines = parts.score_bias.table, []
    for group, own in rows:
        line = []
        for other_group, other in rows:
            number = 0
            for p, r, w in zip(own, other, mixer.window, strict=True):
                number = number * (2 * w - 1) + (p - r + w - 1)
            line.append(table[number] if group == other_group else torch.full((HEADS,), -torch.inf))
        lines.append(torch.stack(line))
    scores = q @ k.mT * q.shape[-1] ** -0.5 + torch.stack(lines).movedim(-1, 0)
    return parts.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2)).view_as(x)


MAPS = [(1, 1), (3, 4), (5, 9)]
CASES = {
    "apart": Case(lambda: StridedAttention(DIM, HEADS, (2, 3), (2, 2)), DIM, MAPS, by_definition),
    "side by side": Case(lambda: StridedAttention(DIM, HEADS, (3, 2), (1, 1)), DIM, MAPS, by_definition),
    "learned differences": Case(
        lambda: StridedAttention(
            DIM, HEADS, (2, 3), (3, 1), bias=False, make_score_bias=lambda heads, window: DynamicBias(heads, 4)
        ),
        DIM,
        MAPS,
    ),
    "sequences": Case(lambda: StridedAttention(DIM, HEADS, (3,), (2,), make_score_bias=None), DIM, [(1,), (4,), (8,)]),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_properties(case):
    check_mixer(*case)


def test_without_distance_these_are_windows():
    torch.manual_seed(0)
    ours, windows = StridedAttention(DIM, HEADS, (3, 2), (1, 1)), WindowAttention(DIM, HEADS, (3, 2))
    windows.load_state_dict(ours.state_dict())
    x = torch.randn(2, 7, 5, DIM)
    torch.testing.assert_close(ours(x), windows(x))


def test_small_samples_beside_large_ones_are_what_they_are_alone():
    torch.manual_seed(0)
    mixer = StridedAttention(DIM, HEADS, (2, 2), (2, 2)).double()
    x = torch.randn(2, 6, 7, DIM).double()
    mask = torch.ones(2, 6, 7).bool()
    mask[1, 2:] = False
    y = mixer(x, mask=mask)
    torch.testing.assert_close(y[:1], mixer(x[:1]))
    torch.testing.assert_close(y[1:, :2], mixer(x[1:, :2]))


def test_wrong_sizes_are_refused():
    for window, interval in (((2,), (1, 1)), ((2, 0), (1, 1)), ((2, 2), (0, 1))):
        with pytest.raises(ValueError, match="StridedAttention"):
            StridedAttention(DIM, HEADS, window, interval)
