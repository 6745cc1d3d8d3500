import pytest
import torch

from apps.vision.backbones import hornet
from apps.vision.backbones.hornet import HorNet
from apps.vision.backbones.testing import check_backbone

COUNTS = {
    "hornet_tiny": 22_409_512,
    "hornet_tiny_gf": 22_991_848,
    "hornet_small": 49_528_264,
    "hornet_small_gf": 50_401_768,
    "hornet_base": 87_256_680,
    "hornet_base_gf": 88_421_352,
}


def small(**changes):
    return HorNet(4, (1, 1, 1, 1), orders=(2, 3, 2, 2), **changes)


def test_promises(perturbed, trains):
    check_backbone(lambda: perturbed(small()))
    trains(small(drop_path=0.1))


def test_promises_with_global_filters(perturbed, trains):
    spectra = (None, None, (4, 3), (2, 2))
    check_backbone(lambda: perturbed(small(spectra=spectra)), masked=False)
    trains(small(spectra=spectra))


@pytest.mark.parametrize("name", COUNTS)
def test_published_number_of_parameters(name, parameters_of):
    assert parameters_of(getattr(hornet, name)) == COUNTS[name]


def test_official_drops_what_fills_no_patch():
    features = small(official=True)(torch.randn(1, 3, 71, 67))
    assert [tuple(f.shape[1:3]) for f in features] == [(17, 16), (8, 8), (4, 4), (2, 2)]
