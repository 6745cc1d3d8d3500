import pytest
import torch

from core.layout import Ragged, coordinates
from core.mixers import WindowAttention
from core.positions import LogMLPBias
from core.testing import Case, check_mixer

DIM, HEADS = 8, 2


def by_definition(mixer, x):
    """Scores of the whole map; pairs whose windows differ are forbidden, the table is read pair by pair."""
    grid = x.shape[1:-1]
    window, shift = mixer.partition.window, mixer.partition.shift
    places = coordinates(grid).flatten(0, -2).long().tolist()
    own = [
        tuple((p - (s if n > w else 0)) // w for p, n, w, s in zip(place, grid, window, shift, strict=True))
        for place in places
    ]
    parts = mixer.groups
    q, k, v = (p(x.flatten(1, -2)).unflatten(-1, (HEADS, -1)).transpose(1, 2) for p in (parts.q, parts.k, parts.v))
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    rows = []
    for i, a in enumerate(places):
        row = []
        for j, b in enumerate(places):
            number = 0
            for p, r, w in zip(a, b, window, strict=True):
                number = number * (2 * w - 1) + (p - r + w - 1)
            row.append(parts.score_bias.table[number] if own[i] == own[j] else torch.full((HEADS,), -torch.inf))
        rows.append(torch.stack(row))
    weights = (scores + torch.stack(rows).movedim(-1, 0)).softmax(-1)
    return parts.out((weights @ v).transpose(1, 2).flatten(2)).view_as(x)


MAPS = [(1, 1), (3, 4), (5, 7)]
CASES = {
    "windows": Case(lambda: WindowAttention(DIM, HEADS, (3, 2)), DIM, MAPS, by_definition),
    "shifted": Case(lambda: WindowAttention(DIM, HEADS, (3, 4), shift=(1, 2)), DIM, MAPS, by_definition),
    "sequence": Case(lambda: WindowAttention(DIM, HEADS, (4,), shift=(3,)), DIM, [(1,), (4,), (11,)], by_definition),
    "volume": Case(lambda: WindowAttention(DIM, HEADS, (2, 2, 2), shift=(1, 1, 0)), DIM, [(1, 1, 1), (3, 2, 3)]),
    "network as bias": Case(lambda: WindowAttention(DIM, HEADS, (3, 3), make_score_bias=LogMLPBias), DIM, MAPS),
    "no bias": Case(lambda: WindowAttention(DIM, HEADS, (3, 3), make_score_bias=None, scale=0.1), DIM, MAPS),
    "official": Case(
        lambda: WindowAttention(DIM, HEADS, (3, 3), shift=(1, 1), official=True), DIM, MAPS, without=("mask",)
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_official_fills_up_and_lets_it_attend():
    torch.manual_seed(0)
    ours = WindowAttention(DIM, HEADS, (3, 3), shift=(1, 1))
    theirs = WindowAttention(DIM, HEADS, (3, 3), shift=(1, 1), official=True)
    torch.nn.init.normal_(ours.groups.k.bias)
    theirs.load_state_dict(ours.state_dict())
    whole, odd, small = torch.randn(1, 6, 9, DIM), torch.randn(1, 5, 9, DIM), torch.randn(1, 3, 9, DIM)
    torch.testing.assert_close(theirs(whole), ours(whole))
    assert not torch.allclose(theirs(odd), ours(odd))
    assert not torch.allclose(theirs(small), ours(small))  # shifted although one window holds it


def test_padded_small_samples_are_not_shifted():
    mixer = WindowAttention(DIM, HEADS, (3, 3), shift=(1, 2)).double()
    x = torch.randn(3, 7, 8, DIM, dtype=torch.float64)
    extents = [(3, 3), (7, 2), (5, 8)]
    mask = torch.zeros(3, 7, 8, dtype=torch.bool)
    for row, (height, width) in zip(mask, extents, strict=True):
        row[:height, :width] = True
    y = mixer(x, mask=mask)
    for b, (height, width) in enumerate(extents):
        torch.testing.assert_close(y[b : b + 1, :height, :width], mixer(x[b : b + 1, :height, :width]))


def test_points_on_a_grid_are_the_grid():
    mixer = WindowAttention(DIM, HEADS, (3, 2), shift=(1, 1))
    x = torch.randn(2, 5, 7, DIM)
    sets = Ragged.of(list(x.flatten(1, 2)), [coordinates((5, 7)).flatten(0, 1)] * 2)
    torch.testing.assert_close(mixer(sets).tokens.view_as(x), mixer(x))


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="0 <= shift < window"):
        WindowAttention(8, 2, (3, 3), shift=(3, 0))
    with pytest.raises(ValueError, match="one window size a grid axis"):
        WindowAttention(8, 2, (3, 3))(torch.randn(1, 5, 8))
    with pytest.raises(ValueError, match="need coordinates"):
        WindowAttention(8, 2, (3, 3))(Ragged.of([torch.randn(2, 8)]))
    with pytest.raises(ValueError, match="number of heads that divides dim"):
        WindowAttention(8, 3, (3, 3))
