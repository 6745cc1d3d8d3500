"""SwinIR: equal to its release, right for any size."""

from pathlib import Path

import pytest
import torch

from apps.vision.superres.models.goldens_swinir import SWINIR
from apps.vision.superres.models.shell import DirectUpsampler, symmetric_full
from apps.vision.superres.models.swinir import (
    SwinIR,
    conv_bottleneck,
    swinir,
    swinir_artefacts,
    swinir_denoise,
    swinir_light,
    swinir_real_large,
)
from core.channels import MLP
from core.verify import read, verify

GOLDENS = sorted((Path(__file__).parents[4] / "golden" / "swinir").glob("*.safetensors"))


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_equals_the_release(path):
    results = verify(path, SWINIR[read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_there_are_goldens():
    assert len(GOLDENS) == 5


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("make", "counts"),
    [(swinir, (11_752_487, 11_937_127, 11_900_199)), (swinir_light, (910_152, 918_267, 929_628))],
)
def test_number_of_parameters(make, counts):
    with torch.device("meta"):
        assert tuple(count(make(scale)) for scale in (2, 3, 4)) == counts


def test_number_of_parameters_of_the_large_one_and_shape_of_restorers():
    with torch.device("meta"):
        assert count(swinir_real_large(4)) == 28_013_059
        assert swinir_denoise().scale == swinir_artefacts().scale == 1
        assert swinir_artefacts().multiple == 7 and swinir_artefacts().range.value_range == 255


def small(scale=2, **changes):
    torch.manual_seed(0)
    arguments = {"dim": 12, "depths": (2,), "heads": (2,), "window": 4, "drop_path": 0.0} | changes
    return SwinIR(scale, **arguments).double().eval()


@pytest.mark.parametrize(("scale", "size"), [(2, (1, 1)), (3, (8, 3)), (4, (5, 21))])
def test_any_size_and_each_sample_alone(scale, size):
    network, image = small(scale), torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        y = network(image)
        assert y.shape == (2, 3, scale * size[0], scale * size[1]) and y.isfinite().all()
        torch.testing.assert_close(torch.cat([network(sample[None]) for sample in image]), y)


def test_the_padding_of_the_test_script():
    image = torch.rand(1, 3, 8, 6, dtype=torch.float64)
    mirrored, full = small(), small(pad=symmetric_full)
    full.load_state_dict(mirrored.state_dict())
    # The script pads to 12 x 8 outside of the network and cuts what comes out.
    torch.testing.assert_close(full(image), mirrored(symmetric_full(image, 4))[:, :, :16, :12])
    assert not torch.allclose(mirrored(image), full(image))


def test_begins_as_the_release():
    network = SwinIR(
        2, dim=60, depths=(2,), heads=(6,), window=4, make_upsampler=DirectUpsampler, make_conv=conv_bottleneck
    )
    block = network.body.groups[0].blocks[0]
    for layer in (block.mix.inner.groups.q, next(m for m in block.modules() if isinstance(m, MLP)).enter):
        assert 0.015 < layer.weight.std() < 0.025 and not layer.bias.any()
    assert 0.01 < block.mix.inner.groups.score_bias.table.std() < 0.03
    assert network.enter.bias.any()  # convolutions begin as torch's


def test_drop_path_rises_evenly_to_the_last_block():
    network = SwinIR(2, dim=12, depths=(2, 3), heads=(2, 2), window=4, drop_path=0.2)
    shares = [block.mix.drop_path.share for group in network.body.groups for block in group.blocks]
    torch.testing.assert_close(torch.tensor(shares), torch.linspace(0, 0.2, 5))


def test_depths_and_heads_pair():
    with pytest.raises(ValueError, match="one number of each a group"):
        SwinIR(2, depths=(6, 6), heads=(6,))
