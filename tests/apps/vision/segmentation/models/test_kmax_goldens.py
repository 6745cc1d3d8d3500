"""kMaX-DeepLab's parts, losses and post-processing against what its release computed."""

from pathlib import Path

import pytest

from apps.vision.segmentation.models.goldens_kmax import KMAX_GOLDENS
from core.verify import read, verify

FOLDER = Path(__file__).parents[4] / "golden" / "kmax"
FILES = [path for path in sorted(FOLDER.glob("*.safetensors")) if read(path)[0].cls in KMAX_GOLDENS]


def test_there_are_goldens():
    assert len(FILES) == 19


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_equal_to_the_release(path):
    results = verify(path, KMAX_GOLDENS[read(path)[0].cls])
    assert results
    assert not [(r.name, r.error) for r in results if not r.ok]
