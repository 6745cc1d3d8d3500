import pytest
import torch

from core.mixers import ManhattanAttention
from core.ops.depthwise import depthwise_reference
from core.ops.manhattan import decay_rates, manhattan_decomposed_reference, manhattan_reference
from core.testing import Case, check_mixer

DIM, HEADS = 8, 2


def by_definition(mixer, x):
    height, width = x.shape[1:3]
    pairs = DIM // HEADS // 2
    numbers = torch.arange(height * width).view(1, height, width, 1, 1)
    angles = numbers * 10000.0 ** -torch.linspace(0, 1, pairs)
    turn = torch.polar(torch.ones_like(angles), angles)
    heads = []
    for project in (mixer.q, mixer.k):
        t = project(x).unflatten(-1, (HEADS, pairs, 2))
        heads.append(torch.view_as_real(torch.view_as_complex(t) * turn).flatten(-2))
    v = mixer.v(x)
    mix = manhattan_decomposed_reference if mixer.decomposed else manhattan_reference
    y = mix(*heads, v.unflatten(-1, (HEADS, -1)), decay_rates(HEADS, mixer.start, mixer.spread)).flatten(-2)
    return mixer.out(y + depthwise_reference(v, mixer.lepe.weight, mixer.lepe.bias))


MAPS = [(1, 1), (2, 3)]
CASES = {
    "full": Case(lambda: ManhattanAttention(DIM, HEADS), DIM, MAPS),
    "decomposed": Case(lambda: ManhattanAttention(DIM, HEADS, decomposed=True, start=1.5, spread=3), DIM, MAPS),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_is_the_definition(name):
    """Angles are float32 on both sides, rounded in different places."""
    torch.manual_seed(0)
    mixer = CASES[name].make().double()
    x = torch.randn(2, 5, 7, DIM, dtype=torch.float64)
    torch.testing.assert_close(mixer(x), by_definition(mixer, x), rtol=1e-4, atol=1e-5)


def test_refuses_what_cannot_be_turned():
    with pytest.raises(ValueError, match="even width"):
        ManhattanAttention(6, 2)
    with pytest.raises(ValueError, match="give maps"):
        ManhattanAttention(DIM, HEADS)(torch.zeros(1, 4, DIM))
