import pytest
import torch
from torch.nn import functional as F

from core.channels import MLP
from core.ops.gelu_linear import gelu_linear


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
@pytest.mark.parametrize("biased", [True, False])
def test_values_and_gradients(lead, biased):
    h, weight, bias = normal(*lead, 5), normal(3, 5, seed=1), normal(3, seed=2) if biased else None
    leaves = [t for t in (h, weight, bias) if t is not None]
    fast, slow = gelu_linear(h, weight, bias), F.linear(F.gelu(h), weight, bias)
    torch.testing.assert_close(fast, slow)
    pairs = (torch.autograd.grad(y.square().sum(), leaves) for y in (fast, slow))
    for ours, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_second_derivatives_and_frozen_parts():
    h, weight, bias = normal(2, 4), normal(3, 4, seed=1), normal(3, seed=2)
    assert torch.autograd.gradgradcheck(gelu_linear, (h, weight, bias))
    for frozen in (h, weight, bias):
        frozen.requires_grad_(False)
        y = gelu_linear(h, weight, bias)
        wanted = [t for t in (h, weight, bias) if t.requires_grad]
        if wanted:
            assert torch.autograd.gradcheck(lambda *_: gelu_linear(h, weight, bias), wanted)
        assert y.shape == (2, 3)
        frozen.requires_grad_(True)


def kept(run):
    sizes = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: (sizes.__setitem__(t.untyped_storage().data_ptr(), t.numel()), t)[1], lambda t: t
    ):
        run()
    return sum(sizes.values())


def test_an_mlp_that_recomputes_is_the_same_and_keeps_less():
    torch.manual_seed(0)
    plain = MLP(4, 64)
    lean = MLP(4, 64, recompute=True)
    lean.load_state_dict(plain.state_dict())
    x = torch.randn(2, 100, 4, requires_grad=True)
    torch.testing.assert_close(lean(x), plain(x))
    assert kept(lambda: plain(x)) - kept(lambda: lean(x)) == 2 * 100 * 64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lean(x).float().sum().backward()
    assert x.grad.isfinite().all()


def test_transforms():
    h, weight, bias = normal(3, 5).detach(), normal(2, 5, seed=1).detach(), normal(2, seed=2).detach()
    found = torch.func.vmap(torch.func.grad(lambda h: gelu_linear(h, weight, bias).sum()))(h)
    expected = torch.func.vmap(torch.func.grad(lambda h: F.linear(F.gelu(h), weight, bias).sum()))(h)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("changes", [{"dropout": 0.1}, {"activation": torch.nn.ReLU}])
def test_only_a_gelu_without_dropout_is_recomputed(changes):
    with pytest.raises(ValueError, match="recompute"):
        MLP(4, 8, recompute=True, **changes)
