import pytest
import torch
from torch import nn

from core.mixers import SepConv
from core.ops.depthwise import depthwise_reference
from core.testing import Case, check_mixer


def by_definition(mixer, x):
    hidden = torch.relu(mixer.enter(x)) ** 2 * mixer.activation.scale + mixer.activation.bias
    return mixer.leave(depthwise_reference(hidden, mixer.conv.weight))


def starred():
    mixer = SepConv(4, kernel=(5, 3))
    nn.init.constant_(mixer.activation.bias, 0.3)
    nn.init.constant_(mixer.activation.scale, 1.2)
    return mixer


CASES = {
    "maps": Case(starred, 4, [(1, 1), (4, 6)], by_definition, variance=None),
    "sequence": Case(lambda: SepConv(4, 6, kernel=(3,), activation=nn.GELU), 4, [(1,), (7,)], variance=None),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])
