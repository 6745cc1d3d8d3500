import pytest
import torch
from torch.nn import functional as F

from core.mixers import ConvFeedForward
from core.mixers.conv_feed_forward import expand
from core.norms import FoldedLayerNorm
from core.ops.depthwise import depthwise_reference
from core.testing import Case, check_mixer

DIM = 4


def by_definition(mixer, x):
    hidden = F.silu(F.linear(mixer.norm(x), mixer.linear.weight, mixer.linear.bias))
    return hidden + depthwise_reference(hidden, mixer.conv, causal=mixer.causal)


CASES = {
    "as published": Case(lambda: ConvFeedForward(DIM, 6), DIM, [(1,), (5,), (20,)], by_definition),
    "layer norm": Case(lambda: ConvFeedForward(DIM, kernel=3, norm=FoldedLayerNorm), DIM, [(1,), (7,)], by_definition),
    "causal": Case(
        lambda: ConvFeedForward(DIM, kernel=4, causal=True), DIM, [(1,), (7,)], by_definition, isolates_nan=True
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


@pytest.mark.parametrize("norm", [None, FoldedLayerNorm])
def test_several_layers_at_once_are_each_alone(norm):
    torch.manual_seed(0)
    options = {} if norm is None else {"norm": norm}
    layers = [ConvFeedForward(DIM, width, **options).double() for width in (3, 8)]
    for layer in layers:
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter)
    x = torch.randn(2, 9, DIM, dtype=torch.float64)
    mask = torch.arange(9) < torch.tensor([[9], [4]])
    together = expand(x, layers, mask).split([3, 8], -1)
    for layer, part in zip(layers, together, strict=True):
        torch.testing.assert_close(part[mask], layer(x, mask=mask)[mask])


def test_dropout_is_for_training():
    torch.manual_seed(0)
    layer, x = ConvFeedForward(DIM, dropout=0.5), torch.randn(1, 30, DIM)
    assert (layer(x) == 0).float().mean() > 0.3
    layer.eval()
    assert (layer(x) != 0).all()
