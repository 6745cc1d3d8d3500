"""Networks are equal to their releases, forward and backward."""

from pathlib import Path

import pytest

from apps.graph.models.goldens import GOLDENS
from core.verify import read, verify

FOLDER = Path(__file__).parents[3] / "golden"
FILES = [path for system in GOLDENS for path in sorted((FOLDER / system).glob("*.safetensors"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_equals_the_release(path):
    results = verify(path, GOLDENS[path.parent.name][read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_every_class_has_a_golden():
    seen = {(path.parent.name, read(path)[0].cls) for path in FILES}
    assert seen == {(system, cls) for system, classes in GOLDENS.items() for cls in classes}
