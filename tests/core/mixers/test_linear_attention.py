import pytest
import torch

from core.layout import Ragged
from core.mixers import LinearAttention
from core.testing import Case, check_mixer

DIM, HEADS = 8, 2


def by_definition(mixer, x):
    """The (T, T) matrix of feature products, its rows divided by their sums."""
    tokens = x.flatten(1, -2)
    q, k, v = (p(tokens).unflatten(-1, (HEADS, -1)).transpose(1, 2) for p in (mixer.q, mixer.k, mixer.v))
    weights = (torch.nn.functional.elu(q) + 1) @ (torch.nn.functional.elu(k) + 1).transpose(-2, -1)
    if mixer.causal:
        weights = weights.tril()
    weights = weights * q.shape[-1] ** -0.5
    y = weights / (weights.sum(-1, keepdim=True) + mixer.eps) @ v
    return mixer.out(y.transpose(1, 2).flatten(2)).view_as(x)


CASES = {
    "whole": Case(lambda: LinearAttention(DIM, HEADS), DIM, [(1,), (7,), (3, 4), (2, 1, 3)], by_definition),
    "causal": Case(lambda: LinearAttention(DIM, HEADS, causal=True), DIM, [(1,), (2,), (9,), (3, 3)], by_definition),
    "causal, several chunks": Case(lambda: LinearAttention(DIM, HEADS, causal=True), DIM, [(70,)], variance=None),
    "relu": Case(lambda: LinearAttention(DIM, HEADS, feature=torch.relu, bias=False), DIM, [(1,), (7,)]),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_context_of_another_width():
    mixer = LinearAttention(DIM, HEADS, context_dim=6)
    x, context = torch.randn(2, 3, 4, DIM), torch.randn(2, 5, 6)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    y = mixer(x, context=context, context_mask=mask)
    torch.testing.assert_close(y[1:], mixer(x[1:], context=context[1:, :2]))


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="number of heads that divides dim"):
        LinearAttention(8, 3)
    with pytest.raises(ValueError, match="step needs causal=True"):
        LinearAttention(8, 2).initial_state(1)
    with pytest.raises(ValueError, match="pack the context"):
        LinearAttention(8, 2)(Ragged.of([torch.randn(2, 8)]), context=torch.randn(1, 2, 8))
    with pytest.raises(ValueError, match="pack the tokens or pad"):
        LinearAttention(8, 2)(torch.randn(1, 2, 8), context=Ragged.of([torch.randn(2, 8)]))
