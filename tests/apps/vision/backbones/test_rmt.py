import pytest

from apps.vision.backbones import rmt
from apps.vision.backbones.rmt import RMT
from apps.vision.backbones.testing import check_backbone

COUNTS = {"rmt_tiny": 14_334_216, "rmt_small": 26_967_240, "rmt_base": 54_154_896, "rmt_large": 95_464_864}


def small(**changes):
    return RMT((1, 1, 2, 1), (4, 8, 8, 12), (1, 2, 2, 2), projection=6, **changes)


def test_promises(perturbed, trains):
    check_backbone(lambda: perturbed(small(layer_scales=(None, None, 1e-6, 1e-6))), masked=False)
    trains(small(drop_path=0.1))


@pytest.mark.parametrize("name", COUNTS)
def test_published_number_of_parameters(name, parameters_of):
    assert parameters_of(getattr(rmt, name)) == COUNTS[name]
