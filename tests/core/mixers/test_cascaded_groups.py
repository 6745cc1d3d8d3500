import pytest
import torch
from torch import nn

from core.mixers import CascadedGroupAttention
from core.testing import Case, check_mixer

DIM, HEADS = 6, 2


def make(**changes):
    mixer = CascadedGroupAttention(DIM, HEADS, 3, kernels=(5, 3), head_dim=2, **changes)
    nn.init.normal_(mixer.out.norm.weight)
    nn.init.normal_(mixer.table)
    for layer in mixer.qkv:
        nn.init.normal_(layer.norm.bias)
    return mixer


def by_definition(mixer, x):
    """Window by window, each as large as what is real of it, pair by pair."""
    y = torch.zeros_like(x)
    for top in range(0, x.shape[1], 3):
        for left in range(0, x.shape[2], 3):
            place = (slice(None), slice(top, top + 3), slice(left, left + 3))
            part = x[place]
            height, width = part.shape[1:3]
            before, made = 0.0, []
            for head, own in enumerate(part.chunk(HEADS, -1)):
                q, k, v = mixer.qkv[head](own + before).split([2, 2, own.shape[-1]], -1)
                q, k, v = (t.flatten(1, 2) for t in (mixer.local[head](q), k, v))
                scores = q @ k.mT / 2**0.5
                places = [(a, b) for a in range(height) for b in range(width)]
                rows = [[abs(a - c) * 3 + abs(b - d) for c, d in places] for a, b in places]
                scores = scores + mixer.table[head][torch.tensor(rows)]
                before = (scores.softmax(-1) @ v).unflatten(1, (height, width))
                made.append(before)
            y[place] = mixer.out(torch.relu(torch.cat(made, -1)))
    return y


# Batch norms in training need more than one value.
CASES = {
    "ours": Case(make, DIM, [(1, 2), (3, 3), (2, 5), (6, 4)], by_definition, variance=None),
    "official": Case(lambda: make(official=True), DIM, [(3, 3), (2, 5)], variance=None),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_official_lets_what_it_fills_up_attend():
    torch.manual_seed(0)
    ours, theirs = make().eval(), make(official=True).eval()
    theirs.load_state_dict(ours.state_dict())
    full, odd = torch.randn(1, 6, 3, DIM), torch.randn(1, 5, 3, DIM)
    torch.testing.assert_close(theirs(full), ours(full))
    assert not torch.allclose(theirs(odd), ours(odd), atol=1e-3)


def test_table_loaded_after_eval_is_used():
    torch.manual_seed(0)
    mixer = make().eval()
    x = torch.randn(1, 3, 3, DIM)
    before = mixer(x)
    mixer.load_state_dict(mixer.state_dict() | {"table": torch.randn(HEADS, 9)})
    assert not torch.allclose(mixer(x), before, atol=1e-3)


def test_refuses_heads_without_kernels():
    with pytest.raises(ValueError, match="a kernel each"):
        CascadedGroupAttention(8, 4, 3, kernels=(3, 3))
