import pytest
import torch
from torch.nn import functional as F

from core.channels import GELUTanh
from core.ops.gelu_tanh import gelu_tanh, gelu_tanh_reference


@pytest.mark.parametrize("dtype, error", [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_is_its_definition(dtype, error):
    x = torch.cat([torch.randn(50), torch.tensor([0.0, -30.0, 30.0, 1e4, -1e4])]).to(dtype)
    expected = gelu_tanh_reference(x)
    assert ((gelu_tanh(x) - expected).abs() <= error * expected.abs().clamp(min=1)).all()


def test_gradients_are_those_of_torch():
    torch.manual_seed(0)
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gelu_tanh, x)
    (ours,) = torch.autograd.grad(gelu_tanh(x).square().sum(), x)
    (theirs,) = torch.autograd.grad(F.gelu(x, approximate="tanh").square().sum(), x)
    torch.testing.assert_close(ours, theirs)


def test_leaves_its_input_alone_and_takes_other_types():
    x = torch.randn(7)
    before = x.clone()
    torch.testing.assert_close(GELUTanh()(x), F.gelu(x, approximate="tanh"))
    assert torch.equal(x, before)
    assert gelu_tanh(x.bfloat16()).dtype == torch.bfloat16
