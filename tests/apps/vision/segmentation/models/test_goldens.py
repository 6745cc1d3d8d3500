"""Segmentation systems against what their releases computed, forward and backward."""

from pathlib import Path

import pytest

from apps.vision.segmentation.models.goldens import GOLDENS
from core.verify import read, verify

FILES = [
    path
    for system in GOLDENS
    for path in sorted((Path(__file__).parents[4] / "golden" / system).glob("*.safetensors"))
    if read(path)[0].cls in GOLDENS[system]
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_equal_to_the_release(path):
    facts, _ = read(path)
    results = verify(path, GOLDENS[facts.system][facts.cls])
    assert results
    assert not [(r.name, r.error) for r in results if not r.ok]
