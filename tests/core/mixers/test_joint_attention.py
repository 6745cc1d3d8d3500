import pytest
import torch
from torch.nn import functional as F

from core.mixers import JointAttention
from core.mixers.joint_attention import gate, shift_half
from core.norms import FoldedLayerNorm
from core.ops.joint_attention import joint_attention_reference
from core.positions.rotary import RotaryInterleaved
from core.testing import Case, check_mixer

DIM = 4


def by_definition(mixer, x):
    """Four copies turned by the position class, attention through (T, T) matrices, gates."""
    shifted = torch.cat([F.pad(x[:, :-1, :2], (0, 0, 1, 0)), x[..., 2:]], -1) if mixer.shift else x
    values, keys = mixer.values(shifted), mixer.keys(shifted)
    copies = keys[..., None, :] * mixer.scale + mixer.offset
    turned = RotaryInterleaved()(copies[..., :32], torch.arange(x.shape[1], dtype=torch.float64)[:, None])
    copies = torch.cat([turned, copies[..., 32:]], -1)
    attended_v, attended_u = joint_attention_reference(copies, values, mixer.group, causal=mixer.causal).chunk(2, -1)
    v, u = values.chunk(2, -1)
    return mixer.out((attended_u * v) * torch.sigmoid(attended_v * u))


def make(**options):
    mixer = JointAttention(DIM, key_dim=options.pop("key_dim", 6), group=4, kernel=5, **options)
    # As drawn, the attention of a few frames is almost nothing.
    torch.nn.init.normal_(mixer.scale)
    torch.nn.init.normal_(mixer.offset)
    return mixer


GRIDS = [(1,), (3,), (4,), (11,)]
CASES = {
    "as published": Case(lambda: make(), DIM, GRIDS, by_definition, variance=None),
    "wide keys, no shift": Case(
        lambda: make(key_dim=36, hidden=6, shift=False), DIM, GRIDS, by_definition, variance=None
    ),
    "layer norm": Case(lambda: make(norm=FoldedLayerNorm), DIM, GRIDS, by_definition, variance=None),
    "causal": Case(lambda: make(causal=True), DIM, GRIDS, by_definition, variance=None),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_the_releases_causal_form_looks_ahead():
    torch.manual_seed(0)
    x = torch.randn(1, 12, DIM)
    changed = x.clone()
    changed[:, 8:] += 1
    with torch.no_grad():
        own, release = make(causal=True), make(causal=True, official=True)
        torch.testing.assert_close(own(changed)[:, :8], own(x)[:, :8])
        assert not torch.allclose(release(changed)[:, :8], release(x)[:, :8])
    assert own.causal and not release.causal


def test_gate_and_its_gradient():
    torch.manual_seed(0)
    attended, values = (torch.randn(2, 3, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    (attended_v, attended_u), (v, u) = attended.chunk(2, -1), values.chunk(2, -1)
    torch.testing.assert_close(gate(attended, values), attended_u * v * torch.sigmoid(attended_v * u))
    torch.autograd.gradcheck(gate, (attended, values))


def test_half_of_the_channels_come_late():
    x = torch.arange(10.0).view(1, 2, 5)
    assert shift_half(x).tolist() == [[[0, 0, 0, 3, 4], [0, 1, 2, 8, 9]]]


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="two halves"):
        JointAttention(DIM, hidden=7)


@pytest.mark.parametrize("causal", [False, True])
def test_dropout_is_for_training(causal):
    torch.manual_seed(0)
    mixer, x = make(causal=causal, dropout=0.5), torch.randn(1, 12, DIM)
    first = mixer(x)
    assert not torch.allclose(first, mixer(x))
    first.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in mixer.parameters())
    mixer.eval()
    torch.testing.assert_close(mixer(x), mixer(x))
