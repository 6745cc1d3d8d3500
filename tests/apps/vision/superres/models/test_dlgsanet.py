"""DLGSANet: equal to its release, right for any size and any batch in its windows of evaluation."""

from functools import partial
from pathlib import Path

import pytest
import torch

from apps.vision.superres.models.checkpoints import load_release
from apps.vision.superres.models.dlgsanet import (
    DLGSANet,
    dlgsanet_large,
    dlgsanet_light,
    dlgsanet_tiny,
    dynamic_layer,
    sparse_layer,
)
from apps.vision.superres.models.goldens_dlgsanet import DLGSANET
from core.verify import read, seeded, verify

GOLDENS = sorted((Path(__file__).parents[4] / "golden" / "dlgsanet").glob("*.safetensors"))


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_equals_the_release(path):
    results = verify(path, DLGSANET[read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_there_are_goldens():
    assert len(GOLDENS) == 11


@pytest.mark.parametrize(
    ("make", "counts"),
    [
        (dlgsanet_tiny, (565_710, 572_205, 581_298)),
        (dlgsanet_light, (745_188, 751_683, 760_776)),
        (dlgsanet_large, (4_733_724, 4_745_889, 4_762_920)),
    ],
)
def test_number_of_parameters(make, counts):
    with torch.device("meta"):
        assert tuple(sum(p.numel() for p in make(scale).parameters()) for scale in (2, 3, 4)) == counts


def test_windows_of_evaluation_have_the_size_of_training():
    windows = [dlgsanet_tiny(scale).body[0].layers[1].mix.inner.window for scale in (2, 3, 4)]
    assert windows == [96, 72, 48]


def small(scale, window=4):
    torch.manual_seed(0)
    layers = (dynamic_layer, partial(sparse_layer, heads=2, window=window))
    return DLGSANet(scale, dim=12, groups=1, blocks=1, layers=layers).double().eval()


@pytest.mark.parametrize(("scale", "size"), [(2, (1, 1)), (3, (8, 50)), (4, (3, 17)), (2, (9, 5))])
@pytest.mark.parametrize("trained", [True, False], ids=["gradients", "no gradients"])
def test_any_size_and_each_sample_alone(scale, size, trained):
    network = small(scale)
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.set_grad_enabled(trained):
        y = network(image)
        assert y.shape == (2, 3, scale * size[0], scale * size[1])
        torch.testing.assert_close(torch.cat([network(sample[None]) for sample in image]), y)


def test_a_map_as_large_as_the_window_is_seen_whole():
    image = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    network = small(2)
    torch.testing.assert_close(network(image), small(2, window=None)(image))
    torch.testing.assert_close(network(image), network.train()(image))


def test_a_step_of_training_moves_every_weight():
    network = small(2).train()
    network(torch.rand(1, 3, 5, 6, dtype=torch.float64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_loads_a_release_file(tmp_path):
    facts, tensors = read(next(path for path in GOLDENS if path.stem == "whole_x4_eval"))
    official = {name: torch.from_numpy(seeded(name, shape, facts.seed)) for name, shape in facts.weights.items()}
    torch.save({"params": official}, tmp_path / "release.pth")
    network = DLGSANET[facts.cls].build(facts).eval()
    load_release(network, tmp_path / "release.pth")
    with torch.no_grad():
        y = network(*facts.inputs.values())
    torch.testing.assert_close(y, tensors["output/0"], rtol=1e-4, atol=1e-4 * float(y.abs().max()))
