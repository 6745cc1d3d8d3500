import pytest

from apps.vision.backbones import biformer
from apps.vision.backbones.biformer import BiFormer, InputConvAttention
from apps.vision.backbones.testing import check_backbone
from core.ops.attend import attend_reference
from core.ops.depthwise import depthwise_reference
from core.testing import check_mixer

COUNTS = {"biformer_tiny": 13_142_760, "biformer_small": 25_536_232, "biformer_base": 56_804_968}


def small(**changes):
    return BiFormer((1, 1, 1, 1), (4, 8, 8, 8), head_dim=4, regions=2, chosen=(1, 2, 3, None), **changes)


@pytest.mark.parametrize("official", [False, True])
def test_promises(official, perturbed, trains):
    check_backbone(lambda: perturbed(small(official=official, layer_scale=1e-6)), masked=False)
    trains(small(official=official, drop_path=0.1))


@pytest.mark.parametrize("name", COUNTS)
def test_published_number_of_parameters(name, parameters_of):
    assert parameters_of(getattr(biformer, name)) == COUNTS[name]


def by_definition(mixer, x):
    own = mixer.attention
    heads = (p(x).flatten(1, 2).unflatten(-1, (own.heads, -1)).transpose(1, 2) for p in (own.q, own.k, own.v))
    y = attend_reference(*heads).transpose(1, 2).flatten(2).view_as(x)
    return own.out(y + depthwise_reference(x, mixer.local.weight, mixer.local.bias))


def test_attention_that_convolves_its_input():
    check_mixer(lambda: InputConvAttention(4, 2, kernel=3), 4, [(1, 1), (3, 4)], by_definition)
