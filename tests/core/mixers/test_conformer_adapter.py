import pytest
import torch
from torch import nn
from torch.nn import functional as F

from core.channels import BottleneckAdapter
from core.mixers import ConformerAdapter
from core.ops.depthwise import depthwise_reference
from core.testing import Case, check_mixer

DIM = 6


def by_definition(mixer, x):
    normal = x if mixer.norm is None else mixer.norm(x)
    content, opening = mixer.enter(normal).chunk(2, -1)
    hidden = depthwise_reference(content * torch.sigmoid(opening), mixer.conv, mixer.conv_bias)
    hidden = F.batch_norm(
        hidden.mT,
        mixer.batch_norm.running_mean,
        mixer.batch_norm.running_var,
        mixer.batch_norm.weight,
        mixer.batch_norm.bias,
    ).mT
    return mixer.leave(F.silu(hidden))


def make(**options):
    mixer = ConformerAdapter(DIM, reduction=2, kernel=5, **options)
    nn.init.normal_(mixer.leave.weight)
    nn.init.normal_(mixer.leave.bias)
    nn.init.normal_(mixer.batch_norm.running_mean)
    nn.init.uniform_(mixer.batch_norm.running_var, 0.5, 2.0)
    return mixer


CASES = {
    "correct": Case(lambda: make(), DIM, [(2,), (9,)], by_definition),
    "as released": Case(lambda: make(out=4, official=True), DIM, [(2,), (9,)], by_definition),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


@pytest.mark.parametrize(
    "make", [lambda: ConformerAdapter(DIM, reduction=2), lambda: BottleneckAdapter(DIM, reduction=2)]
)
def test_adds_nothing_at_first_and_learns(make):
    torch.manual_seed(0)
    adapter, x = make(), torch.randn(3, 9, DIM)
    target = torch.randn(3, 9, DIM)
    y = adapter(x)
    assert not y.any()
    optimiser = torch.optim.Adam(adapter.parameters(), 1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        (adapter(x) - target).square().mean().backward()
        optimiser.step()
    # After the first step the second layer is no longer 0, so all weights have gradients.
    assert all(p.grad.any() for p in adapter.parameters())


def test_statistics_of_a_batch_leave_padding_out():
    torch.manual_seed(0)
    mask = torch.arange(9) < torch.tensor([[9], [4]])
    x = torch.randn(2, 9, DIM).masked_fill(~mask[..., None], 1e4)
    adapter, other = make().train(), make()
    other.load_state_dict(adapter.state_dict())
    other.train()
    adapter(x, mask=mask)
    garbage = x.masked_fill(~mask[..., None], -1e4)
    other(garbage, mask=mask)
    torch.testing.assert_close(adapter.batch_norm.running_var, other.batch_norm.running_var)
    assert (adapter.batch_norm.running_var < 1e3).all()


@pytest.mark.parametrize("adapter", [ConformerAdapter, BottleneckAdapter])
def test_what_cannot_be_is_said(adapter):
    with pytest.raises(ValueError, match="leaves nothing"):
        adapter(DIM)
