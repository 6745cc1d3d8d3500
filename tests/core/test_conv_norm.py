import pytest
import torch
from torch import nn

from core.conv_norm import ConvNorm, folded

CASES = {
    "token": {"kernel": 1},
    "token with bias": {"kernel": 1, "bias": True},
    "strided": {"kernel": 3, "stride": 2},
    "depthwise": {"kernel": 5, "groups": 4},
    "depthwise residual": {"kernel": 3, "groups": 4, "residual": True},
    "residual": {"kernel": 3, "residual": True, "bias": True},
}


@pytest.mark.parametrize("name", CASES)
def test_folded_is_the_same_function(name):
    torch.manual_seed(0)
    layer = ConvNorm(4, 4, **CASES[name])
    nn.init.normal_(layer.norm.weight)
    nn.init.normal_(layer.norm.bias)
    x = torch.randn(3, 5, 6, 4)
    expected = layer.norm(layer.conv(x.movedim(-1, 1))).movedim(1, -1)
    expected = expected + x if layer.residual else expected
    torch.testing.assert_close(layer(x), expected)
    layer.eval()
    network = nn.Sequential(layer, nn.ReLU())
    ours = folded(network)
    torch.testing.assert_close(ours(x), network(x))
    assert [type(part) for part in ours.modules() if isinstance(part, ConvNorm | nn.BatchNorm2d)] == []
    assert isinstance(network[0], ConvNorm)


def test_refuses_what_cannot_be_added():
    with pytest.raises(ValueError, match="residual"):
        ConvNorm(4, 6, residual=True)
    with pytest.raises(ValueError, match="odd"):
        ConvNorm(4, 4, 2)
