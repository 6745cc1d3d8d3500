"""CSWin: equal to its release, right for any size."""

from pathlib import Path

import pytest
import torch

from apps.vision.backbones import Classifier, Normed, load_release
from apps.vision.backbones.cswin import CSWin, cswin_base, cswin_small, cswin_tiny
from apps.vision.backbones.goldens_cswin import CSWIN
from apps.vision.backbones.testing import check_backbone
from core.verify import normal, read, verify

GOLDENS = sorted((Path(__file__).parents[3] / "golden" / "cswin").glob("*.safetensors"))


def small(**changes):
    return CSWin(**{"dim": 4, "depths": (1, 1, 1), "heads": (2, 2, 4), "stripes": (1, 3, None)} | changes)


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_equals_the_release(path):
    results = verify(path, CSWIN[read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_there_are_goldens():
    assert len(GOLDENS) == 3


def test_number_of_parameters():
    with torch.device("meta"):
        found = [
            sum(p.numel() for p in Classifier(make()).parameters()) for make in (cswin_tiny, cswin_small, cswin_base)
        ]
    assert found == [22_320_552, 34_643_304, 77_382_184]


def test_any_size_and_padding():
    check_backbone(small)


def test_release_rounds_its_stem_down():
    sizes = [tuple(f.shape[1:3]) for f in small(official=True)(torch.randn(1, 3, 33, 61))]
    assert sizes == [(8, 15), (4, 8), (2, 4)]
    assert [tuple(f.shape[1:3]) for f in small()(torch.randn(1, 3, 33, 61))] == [(9, 16), (5, 8), (3, 4)]


def test_checkpoints_of_classification_and_segmentation(tmp_path):
    facts, _ = read(next(path for path in GOLDENS if path.stem == "backbone"))
    state = {name: torch.from_numpy(normal(0, name, shape)) for name, shape in facts.weights.items()}
    torch.save(
        {"state_dict": dict.fromkeys(state, torch.zeros(1)), "state_dict_ema": state}, tmp_path / "classifier.pth"
    )
    sizes = {"dim": 8, "depths": (1, 1, 2, 1), "heads": (2, 2, 4, 4), "stripes": (1, 2, 2, None), "channels": 1}
    whole, normed = Classifier(small(**sizes), 5), Normed(small(**sizes))
    load_release(whole, tmp_path / "classifier.pth")
    load_release(normed, tmp_path / "classifier.pth")
    assert torch.equal(normed.backbone.stages[2].down.proj.weight, state["merge2.conv.weight"])
    assert torch.equal(normed.norms[0].weight, torch.ones(8))
    for level, dim in enumerate(normed.channels):
        state |= {f"norm{level + 1}.weight": torch.full((dim,), 2.0), f"norm{level + 1}.bias": torch.zeros(dim)}
    torch.save({k: v for k, v in state.items() if not k.startswith(("norm.", "head."))}, tmp_path / "dense.pth")
    load_release(normed, tmp_path / "dense.pth")
    assert torch.equal(normed.norms[3].weight, torch.full((64,), 2.0))
