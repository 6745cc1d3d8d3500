from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from core.mixers import ChannelAttention
from core.mixers.channel_attention import TopKWeights, _starts
from core.ops.depthwise import depthwise_reference
from core.ops.topk import topk_softmax_reference
from core.testing import Case, check_mixer

DIM, HEADS = 8, 2


def whole(mixer, qkv):
    """q and k normalised over tokens, one head after the other, before the last projection."""
    flat = qkv.flatten(1, -2)
    heads = []
    for q, k, v, t in zip(*(part.chunk(HEADS, -1) for part in flat.chunk(3, -1)), mixer.temperature, strict=True):
        scores = t * F.normalize(q, dim=1).mT @ F.normalize(k, dim=1)
        if isinstance(mixer.weighting, TopKWeights):
            keep = [scores.shape[-1] * a // b for a, b in mixer.weighting.fractions]
            weights = topk_softmax_reference(scores, mixer.weighting.shares, keep)
        else:
            weights = mixer.weighting(scores)
        heads.append(v @ weights.mT)
    return torch.cat(heads, -1).view(*qkv.shape[:-1], -1)


def by_definition(mixer, x):
    qkv = depthwise_reference(mixer.qkv(x), mixer.local.weight, mixer.local.bias)
    if mixer.window is None or mixer.training:
        return mixer.out(whole(mixer, qkv))
    height, width = x.shape[1:3]
    total, visits = torch.zeros_like(x), torch.zeros(height, width, 1, dtype=x.dtype)
    for top in _starts(height, mixer.window):
        for left in _starts(width, mixer.window):
            place = (slice(None), slice(top, top + mixer.window), slice(left, left + mixer.window))
            part = torch.zeros_like(x)
            part[place] = whole(mixer, qkv[place])
            total = total + part
            visits[place[1:]] += 1
    return mixer.out(total / visits)


MAPS = [(1, 1), (3, 4), (5, 7)]
QUIET = (0.05, 5.0)  # a mean over channels is small at the start
CASES = {
    "softmax": Case(lambda: ChannelAttention(DIM, HEADS, bias=True), DIM, MAPS, by_definition, variance=QUIET),
    "sparse": Case(lambda: ChannelAttention(DIM, HEADS, weighting=nn.ReLU), DIM, MAPS, by_definition, variance=None),
    # On one token all scores are equal up to their sign, and which are the largest is arbitrary.
    "largest": Case(
        lambda: ChannelAttention(DIM, HEADS, weighting=TopKWeights), DIM, MAPS[1:], by_definition, variance=QUIET
    ),
    "windows": Case(
        lambda: ChannelAttention(DIM, HEADS, bias=True, window=3),
        DIM,
        MAPS,
        by_definition,
        variance=QUIET,
        without=("mask",),
    ),
    "sequence": Case(lambda: ChannelAttention(DIM, HEADS, kernel=(3,)), DIM, [(1,), (4,), (9,)], by_definition),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_windows_are_for_evaluation():
    mixer = ChannelAttention(DIM, HEADS, window=3).double()
    x = torch.randn(2, 5, 7, DIM, dtype=torch.float64)
    trained, evaluated = mixer.train()(x), mixer.eval()(x)
    assert not torch.allclose(trained, evaluated)
    mixer.window = None
    torch.testing.assert_close(mixer(x), trained)


def test_windows_cover_the_axis_evenly_and_end_flush():
    assert _starts(3, 5) == _starts(5, 5) == [0]
    assert _starts(6, 5) == [0, 1]
    assert _starts(100, 48) == [0, 26, 52]


def test_one_channel_a_head_keeps_no_largest():
    with pytest.raises(ValueError, match="counts from 1"):
        ChannelAttention(4, 4, weighting=TopKWeights)(torch.randn(1, 2, 2, 4))


def test_a_channel_of_zeros_has_finite_gradients():
    mixer = ChannelAttention(DIM, HEADS, weighting=partial(nn.Softmax, -1))
    x = torch.zeros(1, 3, 3, DIM, requires_grad=True)
    mixer(x).sum().backward()
    assert all(t.grad.isfinite().all() for t in (x, *mixer.parameters()))


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="divides dim"):
        ChannelAttention(8, 3)
    with pytest.raises(ValueError, match="are for maps"):
        ChannelAttention(8, 2, kernel=(3,), window=4)
    with pytest.raises(ValueError, match="leave the mask or window out"):
        ChannelAttention(8, 2, window=4)(torch.zeros(1, 2, 2, 8), mask=torch.ones(1, 2, 2, dtype=torch.bool))
