"""DRSformer: equal to its release, and right for any size."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from apps.vision.superres.models.checkpoints import load_release
from apps.vision.superres.models.drsformer import DRSformer, drsformer, drsformer_light
from apps.vision.superres.models.drsformer_layers import PairConv
from apps.vision.superres.models.goldens_drsformer import DRSFORMER
from core.verify import read, seeded, verify

GOLDENS = sorted((Path(__file__).parents[4] / "golden" / "drsformer").glob("*.safetensors"))


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_equals_the_release(path):
    results = verify(path, DRSFORMER[read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_there_are_goldens():
    assert len(GOLDENS) == 6


@pytest.mark.parametrize(("make", "count"), [(drsformer, 33_655_424), (drsformer_light, 32_610_304)])
def test_number_of_parameters(make, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in make().parameters()) == count


def small(**changes):
    torch.manual_seed(0)
    return DRSformer(**({"dim": 4, "depths": (1, 1, 1, 1), "heads": (1, 2, 2, 2)} | changes)).double().eval()


@pytest.mark.parametrize("size", [(1, 1), (3, 17), (8, 16), (9, 50)])
def test_any_size_and_each_sample_alone(size):
    network = small()
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    y = network(image)
    assert y.shape == image.shape
    torch.testing.assert_close(torch.cat([network(sample[None]) for sample in image]), y)


def test_an_image_of_another_size_is_mirrored_and_cut():
    network, image = small(experts=False), torch.rand(1, 3, 13, 16, dtype=torch.float64)
    torch.testing.assert_close(network(image), network(F.pad(image, (0, 0, 0, 3), mode="reflect"))[:, :, :13])


def test_a_step_of_training_moves_every_weight():
    network = small().train()
    network(torch.rand(1, 3, 16, 16, dtype=torch.float64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("kernel", [3, 5])
def test_pairs_are_a_convolution_in_groups_of_two(kernel):
    conv = PairConv(3, kernel, bias=True).double()
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    expected = F.conv2d(x.movedim(-1, 1), conv.weight, conv.bias, padding=kernel // 2, groups=3).movedim(1, -1)
    torch.testing.assert_close(conv(x), expected)


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="give 1"):
        DRSformer(2)
    with pytest.raises(ValueError, match="at least 2 wide"):
        DRSformer(dim=4, heads=(4, 2, 2, 2))
    with pytest.raises(ValueError, match="give 4 numbers each"):
        DRSformer(depths=(1, 1))
    with pytest.raises(ValueError, match="give \\(B, 3, H, W\\)"):
        small()(torch.zeros(1, 1, 8, 8, dtype=torch.float64))


def test_loads_a_release_file(tmp_path):
    facts, tensors = read(next(path for path in GOLDENS if path.stem == "whole"))
    official = {name: torch.from_numpy(seeded(name, shape, facts.seed)) for name, shape in facts.weights.items()}
    torch.save({"params": official}, tmp_path / "release.pth")
    network = DRSFORMER[facts.cls].build(facts).eval()
    load_release(network, tmp_path / "release.pth")
    with torch.no_grad():
        y = network(*facts.inputs.values())
    torch.testing.assert_close(y, tensors["output/0"], rtol=1e-4, atol=1e-4 * float(y.abs().max()))
