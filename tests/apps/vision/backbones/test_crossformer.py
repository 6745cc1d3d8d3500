"""CrossFormer and CrossFormer++: equal to their release, right for any size."""

from pathlib import Path

import pytest
import torch

from apps.vision.backbones import Classifier, load_release
from apps.vision.backbones.crossformer import (
    Cooling,
    CrossFormer,
    crossformer_base,
    crossformer_large,
    crossformer_plus_base,
    crossformer_plus_small,
    crossformer_small,
    crossformer_tiny,
)
from apps.vision.backbones.goldens_crossformer import CROSSFORMER
from apps.vision.backbones.testing import check_backbone
from core.verify import normal, read, verify

GOLDENS = sorted((Path(__file__).parents[3] / "golden" / "crossformer").glob("*.safetensors"))


def small(**changes):
    arguments = {
        "dim": 32,
        "depths": (2, 4),
        "heads": (1, 2),
        "windows": (3, 2),
        "intervals": (2, 2),
        "merges": ((2, 4),),
        "mlp_ratios": (1, 1),
    }
    return CrossFormer(**arguments | changes)


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_equals_the_release(path):
    results = verify(path, CROSSFORMER[read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_there_are_goldens():
    assert len(GOLDENS) == 4


def test_number_of_parameters():
    makes = (crossformer_tiny, crossformer_small, crossformer_base, crossformer_large)
    plus = (crossformer_plus_small, crossformer_plus_base)
    with torch.device("meta"):
        found = [sum(p.numel() for p in Classifier(make()).parameters()) for make in (*makes, *plus)]
    assert found == [27_776_794, 30_657_394, 51_971_554, 91_971_184, 23_325_340, 51_994_594]


def test_any_size_and_padding():
    check_backbone(small)


def test_cooled_ones_too():
    check_backbone(lambda: small(cooled=True), sizes=[(1, 1), (33, 47)])
    places = [i for i, block in enumerate(small(cooled=True).stages[1].blocks) if isinstance(block, Cooling)]
    assert places == [3]


def test_checkpoint_of_a_cooled_one(tmp_path):
    facts, _ = read(next(path for path in GOLDENS if path.stem == "backbone"))
    state = {name: torch.from_numpy(normal(0, name, shape)) for name, shape in facts.weights.items()}
    sizes = {"dim": 48, "depths": (2, 3), "heads": (2, 4), "mlp_ratios": (2, 2), "channels": 1}
    # A fourth block in the second level, and cooling behind its third.
    last = "layers.1.blocks.2."
    state |= {name.replace(last, "layers.1.blocks.3."): state[name] for name in state if name.startswith(last)}
    state |= {f"{last}ex_conv.weight": torch.ones(96, 1, 3, 3), f"{last}ex_conv.bias": torch.ones(96)}
    state |= {f"{last}ex_ln.{p}": torch.full((96,), 2.0) for p in ("weight", "bias")}
    torch.save({"model": state}, tmp_path / "plus.pth")
    network = Classifier(small(**sizes | {"depths": (2, 4)}, cooled=True), 5)
    load_release(network, tmp_path / "plus.pth")
    blocks = network.backbone.stages[1].blocks
    assert torch.equal(blocks[3].norm.weight, torch.full((96,), 2.0))
    assert torch.equal(blocks[4].mix.inner.groups.out.weight, state["layers.1.blocks.3.attn.proj.weight"])
