import pytest
import torch
from torch import nn
from torch.nn import functional as F

from core.channels import MLP, GatedMLP


def test_mlp_is_the_formula():
    mlp = MLP(4, 7, activation=nn.ReLU, bias=False)
    x = torch.randn(2, 3, 5, 4)
    torch.testing.assert_close(mlp(x), F.relu(x @ mlp.enter.weight.T) @ mlp.leave.weight.T)
    assert mlp.enter.bias is None


@pytest.mark.parametrize("activation, function", [(nn.SiLU, F.silu), (nn.GELU, F.gelu), (nn.Sigmoid, torch.sigmoid)])
def test_gated_mlp_is_the_formula(activation, function):
    mlp = GatedMLP(4, 7, activation=activation)
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(mlp(x), mlp.leave(function(mlp.gate(x)) * mlp.enter(x)))


@pytest.mark.parametrize("make", [MLP, GatedMLP])
def test_tokens_do_not_meet_and_dropout_is_for_training(make):
    mlp = make(4, 7, dropout=0.5)
    x = torch.randn(6, 4)
    assert not torch.equal(mlp(x), mlp(x))
    mlp.eval()
    torch.testing.assert_close(mlp(x)[2:3], mlp(x[2:3]))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_inference_gives_the_same_and_leaves_its_input_alone(approximate):
    mlp = MLP(4, 7, activation=lambda: nn.GELU(approximate=approximate))
    x = torch.randn(2, 3, 4)
    before, expected = x.clone(), mlp(x)
    with torch.no_grad():
        assert torch.equal(mlp(x), expected)
    assert torch.equal(x, before)
