import pytest
import torch
from torch import nn

from core.mixers import SingleHeadAttention
from core.testing import Case, check_mixer


def make():
    mixer = SingleHeadAttention(6, 4, head_dim=2)
    nn.init.normal_(mixer.out.norm.weight)
    return mixer


def by_definition(mixer, x):
    part = mixer.norm(x[..., :4])
    q, k, v = (t.flatten(1, 2) for t in mixer.qkv(part).split([2, 2, 4], -1))
    y = torch.stack([torch.softmax(a @ b.T / 2**0.5, -1) @ c for a, b, c in zip(q, k, v, strict=True)])
    return mixer.out(torch.relu(torch.cat([y.view(*x.shape[:3], 4), x[..., 4:]], -1)))


# Batch norms in training need more than one value.
CASES = {"part": Case(make, 6, [(1, 2), (2, 3)], by_definition, variance=None)}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="width 7 of dim 6"):
        SingleHeadAttention(6, 7)
    with pytest.raises(ValueError, match="give maps"):
        make()(torch.zeros(1, 4, 6))
