"""The core's mixers against what the releases computed, forward and backward."""

from pathlib import Path

import pytest

from core.mixers.goldens import GOLDENS
from core.verify import read, verify

FILES = sorted(
    path for system in GOLDENS for path in (Path(__file__).parents[2] / "golden" / system).glob("*.safetensors")
)


def test_every_class_has_a_golden():
    covered = {(facts.system, facts.cls) for facts, _ in map(read, FILES)}
    assert covered >= {(system, cls) for system, classes in GOLDENS.items() for cls in classes}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_equal_to_the_release(path):
    facts, _ = read(path)
    if facts.cls not in GOLDENS[facts.system]:
        pytest.skip(f"{facts.system}.{facts.cls} belongs to an app")
    results = verify(path, GOLDENS[facts.system][facts.cls])
    assert results
    assert not [(r.name, r.error) for r in results if not r.ok]
