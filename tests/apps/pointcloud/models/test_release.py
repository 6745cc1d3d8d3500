"""Encoders and backbones are equal to their releases, forward and backward."""

from pathlib import Path

import pytest

from apps.pointcloud.models.goldens import GOLDENS
from apps.pointcloud.models.goldens_openpcdet import OPENPCDET
from core.verify import read, verify

FOLDER = Path(__file__).parents[3] / "golden"
FILES = [path for part in ("vfe", "voxel", "bev") for path in sorted((FOLDER / "openpcdet").glob(f"{part}_*"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_equals_the_release(path):
    results = verify(path, GOLDENS[path.parent.name][read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_every_class_has_a_golden():
    assert {read(path)[0].cls for path in FILES} == {*OPENPCDET}
