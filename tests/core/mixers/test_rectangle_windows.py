import copy
import pickle

import pytest
import torch
from torch.nn import functional as F

from core.layout import coordinates
from core.mixers import RectangleAttention
from core.ops.depthwise import depthwise_reference
from core.testing import Case, check_mixer

DIM, HEADS = 8, 4


def by_definition(mixer, x):
    """Scores of the whole (filled up) map, one head after the other; pairs whose rectangles differ are forbidden."""
    q, k, v = mixer.qkv(x).chunk(3, -1)
    height, width = x.shape[1:3]
    side = max(mixer.partitions[0].window) if mixer.official else 1
    # The release fills up after the projection: such a token adds exp(bias) to the denominator and nothing else.
    heads = [F.pad(t, (0, 0, 0, -width % side, 0, -height % side)).unflatten(-1, (HEADS, -1)) for t in (q, k, v)]
    grid = heads[0].shape[1:3]
    q, k, values = (t.flatten(1, 2).transpose(1, 2) for t in heads)
    place = coordinates(grid, dtype=x.dtype).flatten(0, 1)
    parts = []
    for branch, (partition, bias) in enumerate(zip(mixer.partitions, mixer.score_biases, strict=True)):
        shift = [
            s if mixer.official or n > w else 0 for s, n, w in zip(partition.shift, grid, partition.window, strict=True)
        ]
        window = torch.tensor(partition.window)
        group = ((place - torch.tensor(shift)) / window).floor()
        same = (group[:, None] == group[None]).all(-1)
        addend = bias._network(place[:, None] - place[None]).movedim(-1, 0)
        own = slice(branch * HEADS // 2, (branch + 1) * HEADS // 2)
        scores = (q[:, own] @ k[:, own].mT * mixer.scale + addend).masked_fill(~same, -torch.inf)
        parts.append(scores.softmax(-1) @ values[:, own])
    y = torch.cat(parts, 1).transpose(1, 2).flatten(2).unflatten(1, grid)[:, :height, :width]
    return mixer.out(y + depthwise_reference(v, mixer.local.weight, mixer.local.bias))


MAPS = [(1, 1), (3, 4), (5, 9)]
CASES = {
    "rectangles": Case(lambda: RectangleAttention(DIM, HEADS, (2, 4)), DIM, MAPS, by_definition),
    "shifted": Case(lambda: RectangleAttention(DIM, HEADS, (2, 4), shift=(1, 2)), DIM, MAPS, by_definition),
    "official": Case(lambda: RectangleAttention(DIM, HEADS, (2, 4), official=True), DIM, MAPS, by_definition),
    "official, shifted": Case(
        lambda: RectangleAttention(DIM, HEADS, (2, 6), shift=(1, 3), bias=False, scale=0.3, official=True),
        DIM,
        [(1, 1), (4, 7), (7, 13)],
        by_definition,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


@pytest.mark.parametrize("official", [True, False])
@pytest.mark.parametrize("size", [(4, 4), (5, 13)])
def test_heads_that_are_filled_up_at_inference(size, official):
    torch.manual_seed(0)
    mixer = RectangleAttention(4 * 18, HEADS, (2, 4), shift=(1, 2), official=official).double().eval()
    torch.nn.init.normal_(mixer.qkv.bias)
    x = torch.randn(2, *size, 4 * 18, dtype=torch.float64)
    expected = by_definition(mixer, x)
    torch.testing.assert_close(mixer(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), expected)
        torch.testing.assert_close(mixer(x), expected)  # from what is kept


def test_what_is_kept_follows_the_weights():
    torch.manual_seed(0)
    mixer = RectangleAttention(4 * 18, HEADS, (2, 4), shift=(1, 2)).eval()
    x = torch.randn(1, 5, 6, 4 * 18)

    def check(mixer, x):
        with torch.no_grad():
            torch.testing.assert_close(mixer(x), by_definition(mixer, x), rtol=1e-4, atol=1e-5)

    check(mixer, x)
    optimizer = torch.optim.SGD(mixer.parameters(), lr=0.1)
    mixer(x).square().sum().backward()
    optimizer.step()
    check(mixer, x)
    mixer.load_state_dict({name: torch.randn_like(value) / 8 for name, value in mixer.state_dict().items()})
    check(mixer, x)
    for other in (copy.deepcopy(mixer), pickle.loads(pickle.dumps(mixer))):
        check(other, x)
        with torch.no_grad():
            other.score_biases[0].enter.weight.mul_(2)
        check(other, x)
    check(mixer, x)
    check(mixer.double(), x.double())
    check(mixer.to(torch.float32), x)


def test_windows_of_nothing_but_zeros_are_skipped():
    mixer = RectangleAttention(DIM, HEADS, (2, 8), shift=(1, 4), official=True)
    lying, standing = mixer.partitions
    assert [mixer._extent(lying, axis, length) for axis, length in enumerate((3, 3))] == [3, 4]
    assert [mixer._extent(standing, axis, length) for axis, length in enumerate((5, 8))] == [8, 8]


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="even number that divides"):
        RectangleAttention(9, 3)
    with pytest.raises(ValueError, match="multiple of the shorter"):
        RectangleAttention(8, 2, (3, 4), official=True)
