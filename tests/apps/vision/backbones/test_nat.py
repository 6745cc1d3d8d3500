import pytest

from apps.vision.backbones import nat
from apps.vision.backbones.nat import NAT
from apps.vision.backbones.testing import check_backbone

COUNTS = {
    "nat_mini": 19_984_174,
    "nat_tiny": 27_901_582,
    "nat_small": 50_743_297,
    "nat_base": 89_769_652,
    "dinat_mini": 19_984_174,
    "dinat_tiny": 27_901_582,
    "dinat_small": 50_719_681,
    "dinat_base": 89_769_652,
}


def small(**changes):
    given = {"kernel": 3, "dilations": [[1, 2], [1], [2], [1]], "layer_scale": 1e-5} | changes
    return NAT(8, (2, 1, 1, 1), (1, 2, 2, 4), **given)


@pytest.mark.parametrize("official", [False, True])
def test_promises(official, perturbed, trains):
    check_backbone(lambda: perturbed(small(official=official)), masked=False)
    trains(small(official=official, drop_path=0.1))


@pytest.mark.parametrize("name", COUNTS)
def test_published_number_of_parameters(name, parameters_of):
    assert parameters_of(getattr(nat, name)) == COUNTS[name]


def test_every_second_block_is_dilated():
    backbone = nat.dinat_mini()
    dilations = [[block.mix.inner.dilation[0] for block in stage.blocks] for stage in backbone.stages]
    assert dilations == [[1, 8, 1], [1, 4, 1, 4], [1, 2, 1, 2, 1, 2], [1, 1, 1, 1, 1]]
