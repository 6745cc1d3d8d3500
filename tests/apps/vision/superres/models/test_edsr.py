"""EDSR: equal to its release, and right for any size."""

from pathlib import Path

import pytest
import torch

from apps.vision.superres.models.checkpoints import load_release
from apps.vision.superres.models.edsr import EDSR, StepUpsampler, edsr_base, edsr_large
from apps.vision.superres.models.goldens_edsr import EDSR_TABLE
from core.verify import read, seeded, verify

GOLDENS = sorted((Path(__file__).parents[4] / "golden" / "edsr").glob("*.safetensors"))


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_equals_the_release(path):
    results = verify(path, EDSR_TABLE[read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_there_are_goldens():
    assert [path.stem for path in GOLDENS] == ["whole_x3", "whole_x4"]


@pytest.mark.parametrize(
    ("make", "scale", "count"),
    [(edsr_base, 2, 1_369_859), (edsr_base, 4, 1_517_571), (edsr_large, 4, 43_089_923)],
)
def test_number_of_parameters(make, scale, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in make(scale).parameters()) == count


@pytest.mark.parametrize(("scale", "size"), [(1, (3, 17)), (2, (1, 1)), (3, (8, 50)), (4, (5, 4))])
def test_any_size_and_each_sample_alone(scale, size):
    torch.manual_seed(0)
    network = EDSR(scale, dim=4, depth=1).double().eval()
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    y = network(image)
    assert y.shape == (2, 3, scale * size[0], scale * size[1])
    torch.testing.assert_close(torch.cat([network(sample[None]) for sample in image]), y)


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="3 or a power of 2"):
        StepUpsampler(4, 3, 6)
    with pytest.raises(ValueError, match="give \\(B, 3, H, W\\)"):
        EDSR(2, dim=4, depth=1)(torch.zeros(1, 1, 4, 4))


def test_loads_a_release_file(tmp_path):
    facts, tensors = read(next(path for path in GOLDENS if path.stem == "whole_x4"))
    official = {name: torch.from_numpy(seeded(name, shape, facts.seed)) for name, shape in facts.weights.items()}
    torch.save({"params": official}, tmp_path / "release.pth")
    network = EDSR_TABLE[facts.cls].build(facts).eval()
    load_release(network, tmp_path / "release.pth")
    with torch.no_grad():
        y = network(*facts.inputs.values())
    torch.testing.assert_close(y, tensors["output/0"], rtol=1e-4, atol=1e-4 * float(y.abs().max()))
