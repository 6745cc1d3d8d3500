"""The perceptual column: its errors, and that it is averaged by set. Its weights are not at hand in tests."""

import sys

import pytest

from apps.vision.superres.perceptual import Perceptual
from core.errors import UserError


def test_without_torchvision_or_weights_it_is_said(monkeypatch):
    pytest.importorskip("torchmetrics")
    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", None)
    with pytest.raises(UserError, match="needs torchvision"):
        Perceptual()

    class Offline:
        class LearnedPerceptualImagePatchSimilarity:
            def __init__(self, **options):
                raise OSError("no route to host")

    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", Offline)
    with pytest.raises(UserError, match=r"could not be fetched \(no route to host\); connect"):
        Perceptual()
