import pytest
import torch

from core.mixers import NeighbourhoodAttention
from core.ops.neighbourhood import neighbourhood_reference
from core.testing import Case, check_mixer

DIM, HEADS = 8, 2


def by_definition(mixer, x):
    grid = x.shape[1:-1]
    sizes = zip(grid, mixer.kernel, mixer.dilation, strict=True)
    dilation = [max(min(step, length // size), 1) for length, size, step in sizes]
    q, k, v = mixer.qkv(x).unflatten(-1, (3, HEADS, -1)).unbind(-3)
    return mixer.out(neighbourhood_reference(q, k, v, mixer.kernel, dilation, table=mixer.table).flatten(-2))


MAPS = [(1, 1), (3, 10), (9, 11)]
CASES = {
    "near": Case(lambda: NeighbourhoodAttention(DIM, HEADS, (3, 5)), DIM, MAPS, by_definition),
    "dilated": Case(lambda: NeighbourhoodAttention(DIM, HEADS, (3, 3), (2, 3)), DIM, MAPS, by_definition),
    "sequence": Case(lambda: NeighbourhoodAttention(DIM, HEADS, (5,), (2,)), DIM, [(1,), (13,)], by_definition),
    "volume": Case(lambda: NeighbourhoodAttention(DIM, HEADS, (3, 3, 3)), DIM, [(1, 1, 1), (3, 4, 5)], by_definition),
    "official": Case(lambda: NeighbourhoodAttention(DIM, HEADS, (3, 3), (2, 2), official=True), DIM, MAPS),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_official_lets_what_it_fills_up_attend():
    torch.manual_seed(0)
    ours, theirs = (NeighbourhoodAttention(DIM, HEADS, (3, 3), (3, 3), official=flag) for flag in (False, True))
    torch.nn.init.normal_(ours.qkv.bias)
    theirs.load_state_dict(ours.state_dict())
    large, small = torch.randn(1, 10, 9, DIM), torch.randn(1, 8, 9, DIM)
    torch.testing.assert_close(theirs(large), ours(large))
    assert not torch.allclose(theirs(small), ours(small), atol=1e-2)


def test_bias_kept_for_inference_follows_the_table():
    torch.manual_seed(0)
    mixer = NeighbourhoodAttention(DIM, HEADS, (3, 3)).eval()
    x = torch.randn(2, 9, 9, DIM)
    with torch.no_grad():
        before = mixer(x)
        torch.testing.assert_close(mixer(x), before)
        mixer.table.add_(torch.randn_like(mixer.table))
        after = mixer(x)
    assert not torch.allclose(after, before, atol=1e-3)
    torch.testing.assert_close(mixer(x), after)
