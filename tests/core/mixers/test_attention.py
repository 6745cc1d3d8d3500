import pytest
import torch

from core.layout import Ragged, coordinates
from core.mixers import Attention
from core.positions import LePE, RelativeTable, Rotary, RotaryInterleaved
from core.testing import Case, check_mixer

DIM, HEADS = 8, 2


def by_definition(mixer, x):
    """Softmax over all tokens, one head and one query at a time."""
    tokens = x.flatten(1, -2)
    out = []
    for sample in tokens:
        q, k, v = (p(sample).view(len(sample), HEADS, -1) for p in (mixer.q, mixer.k, mixer.v))
        rows = []
        for i in range(len(sample)):
            seen = i + 1 if mixer.causal else len(sample)
            weights = [torch.softmax(k[:seen, h] @ q[i, h] / q.shape[-1] ** 0.5, 0) for h in range(HEADS)]
            rows.append(torch.cat([w @ v[:seen, h] for h, w in enumerate(weights)]))
        out.append(mixer.out(torch.stack(rows)))
    return torch.stack(out).view_as(x)


SEQUENCES = [(1,), (2,), (7,)]
MAPS = [(1, 1), (3, 4), (5, 3)]
CASES = {
    "whole": Case(lambda: Attention(DIM, HEADS), DIM, [(1,), (7,), (3, 4), (2, 1, 3)], by_definition),
    "causal": Case(lambda: Attention(DIM, HEADS, causal=True), DIM, [*SEQUENCES, (3, 3)], by_definition),
    "causal, rotary": Case(lambda: Attention(DIM, HEADS, causal=True, rotary=Rotary()), DIM, SEQUENCES),
    "causal, table": Case(
        lambda: Attention(DIM, HEADS, causal=True, score_bias=RelativeTable(HEADS, (9,))),
        DIM,
        SEQUENCES,
        without=("context",),
    ),
    "rotary of a map": Case(lambda: Attention(DIM, HEADS, rotary=RotaryInterleaved(2)), DIM, MAPS),
    "LePE": Case(lambda: Attention(DIM, HEADS, lepe=LePE(DIM)), DIM, MAPS, without=("context", "ragged")),
    "narrow heads": Case(lambda: Attention(DIM, HEADS, head_dim=3, scale=0.2, out_bias=False), DIM, SEQUENCES),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_context_of_another_width_and_rank():
    mixer = Attention(DIM, HEADS, context_dim=6)
    x, context = torch.randn(2, 3, 4, DIM), torch.randn(2, 5, 6)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    y = mixer(x, context=context, context_mask=mask)
    torch.testing.assert_close(y[1:], mixer(x[1:], context=context[1:, :2]))


def test_causal_sees_all_of_a_context():
    mixer = Attention(DIM, HEADS, causal=True)
    x, context = torch.randn(1, 3, DIM), torch.randn(1, 4, DIM)
    other = context.clone()
    other[:, -1] = 0
    assert not torch.allclose(mixer(x, context=context)[:, 0], mixer(x, context=other)[:, 0])


def test_ragged_context():
    mixer = Attention(DIM, HEADS)
    xs, cs = [torch.randn(n, DIM) for n in (2, 0, 3)], [torch.randn(n, DIM) for n in (4, 5, 1)]
    y = mixer(Ragged.of(xs), context=Ragged.of(cs)).tokens
    alone = [mixer(x[None], context=c[None])[0] for x, c in zip(xs, cs, strict=True) if len(x)]
    torch.testing.assert_close(y, torch.cat(alone))


def test_ragged_rotary_reads_the_coordinates():
    mixer = Attention(DIM, HEADS, rotary=Rotary(2))
    x = torch.randn(2, 3, 4, DIM)
    sets = Ragged.of(list(x.flatten(1, 2)), [coordinates((3, 4)).flatten(0, 1)] * 2)
    torch.testing.assert_close(mixer(sets).tokens.view_as(x), mixer(x))


def test_rotary_depends_on_differences_alone():
    mixer = Attention(DIM, HEADS, rotary=Rotary())
    x = torch.randn(1, 5, DIM)
    sets = [Ragged.of([x[0]], [torch.arange(5.0)[:, None] + shift]) for shift in (0.0, 7.0)]
    torch.testing.assert_close(mixer(sets[0]).tokens, mixer(sets[1]).tokens)


def test_cache_of_samples_of_unequal_length():
    mixer = Attention(DIM, HEADS, causal=True, rotary=Rotary(), max_length=8).double().eval()
    x = torch.randn(2, 6, DIM, dtype=torch.float64)
    keys, values, length = mixer.initial_state(2, dtype=torch.float64)
    mixer.extend(x[:, :4], (keys, values, length))
    # The second sample forgets its last two tokens and goes on with others.
    length = torch.tensor([4, 2])
    y, _ = mixer.step(x[:, 5], (keys, values, length))
    expected = [mixer(torch.cat([x[b, :n], x[b, 5:6]])[None])[0, -1] for b, n in ((0, 4), (1, 2))]
    torch.testing.assert_close(y, torch.stack(expected))


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="number of heads that divides dim"):
        Attention(8, 3)
    with pytest.raises(ValueError, match="step needs causal=True"):
        Attention(8, 2).initial_state(1)
    with pytest.raises(ValueError, match="leave it out where causal"):
        Attention(8, 2, causal=True, lepe=LePE(8))
    mixer = Attention(8, 2, causal=True, max_length=3)
    _, state = mixer.extend(torch.randn(1, 3, 8), mixer.initial_state(1))
    with pytest.raises(ValueError, match="larger max_length"):
        mixer.step(torch.randn(1, 8), state)
    with pytest.raises(ValueError, match="pack the tokens or pad"):
        mixer(torch.randn(1, 3, 8), context=Ragged.of([torch.randn(2, 8)]))
    with pytest.raises(ValueError, match="no masks"):
        mixer(Ragged.of([torch.randn(2, 8)]), mask=torch.ones(1, 2, dtype=torch.bool))


def test_dropout_only_in_training():
    mixer = Attention(DIM, HEADS, dropout=0.5)
    x = torch.randn(2, 9, DIM)
    assert not torch.equal(mixer(x), mixer(x))
    mixer.eval()
    assert torch.equal(mixer(x), mixer(x))
