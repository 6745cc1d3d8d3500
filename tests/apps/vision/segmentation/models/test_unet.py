"""The plain network."""

import pytest
import torch

from apps.vision.segmentation.models import UNet


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (32, 33)])
def test_any_size(size):
    net = UNet(4, dim=2, depth=4).eval()
    assert net(torch.randn(2, 3, *size)).main.shape == (2, 4, *size)


def test_published_parameter_count():
    """31.0 M with 64 channels and 2 classes (biases before norms are not needed, norms are)."""
    assert sum(p.numel() for p in UNet(2).parameters()) == 31_037_698
