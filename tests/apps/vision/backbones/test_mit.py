"""MiT: equal to its release, right for any size."""

from pathlib import Path

import pytest
import torch

from apps.vision.backbones import Classifier, load_release
from apps.vision.backbones.goldens_mit import MIT
from apps.vision.backbones.mit import MiT, mit_b0, mit_b1, mit_b2, mit_b3, mit_b4, mit_b5
from apps.vision.backbones.testing import check_backbone
from core.verify import normal, read, verify

GOLDENS = sorted((Path(__file__).parents[3] / "golden" / "mit").glob("*.safetensors"))


def small(**changes):
    return MiT(
        **{"dims": (4, 8), "depths": (1, 2), "heads": (1, 2), "reductions": (4, 1), "mlp_ratios": (2, 2)} | changes
    )


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_equals_the_release(path):
    results = verify(path, MIT[read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_there_are_goldens():
    assert len(GOLDENS) == 2


def test_number_of_parameters():
    makes = (mit_b0, mit_b1, mit_b2, mit_b3, mit_b4, mit_b5)
    with torch.device("meta"):
        found = [sum(p.numel() for p in make().parameters()) for make in makes]
    assert found == [3_319_392, 13_151_424, 24_196_288, 44_072_128, 60_842_688, 81_443_008]


def test_any_size_and_padding():
    check_backbone(small)


def test_checkpoint_with_and_without_head(tmp_path):
    facts, _ = read(next(path for path in GOLDENS if path.stem == "backbone"))
    state = {name: torch.from_numpy(normal(0, name, shape)) for name, shape in facts.weights.items()}
    torch.save(state, tmp_path / "encoder.pth")
    sizes = {"dims": (8, 12, 16, 24), "depths": (1,) * 4, "heads": (1, 2, 2, 4), "mlp_ratios": (2,) * 4, "channels": 1}
    bare = small(**sizes, reductions=(8, 4, 2, 1))
    load_release(bare, tmp_path / "encoder.pth")
    assert torch.equal(bare.stages[1].blocks[0].mix.inner.attention.v.weight, state["block2.0.attn.kv.weight"][12:])
    state |= {"head.weight": torch.ones(5, 24), "head.bias": torch.ones(5)}
    torch.save(state, tmp_path / "classifier.pth")
    whole = Classifier(small(**sizes, reductions=(8, 4, 2, 1)), 5)
    load_release(whole, tmp_path / "classifier.pth")
    load_release(bare, tmp_path / "classifier.pth")
    assert whole.head.linear.bias.sum() == 5
