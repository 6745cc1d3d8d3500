"""Release files into networks: nests, prefixes, tables that are rebuilt, and errors in one sentence."""

from pathlib import Path

import pytest
import torch
from torch import nn

from apps.vision.superres.models.checkpoints import load_release, scale_of
from apps.vision.superres.models.drct import DRCT
from apps.vision.superres.models.goldens_hat import hat
from apps.vision.superres.models.hat import HAT
from apps.vision.superres.models.swinir import SwinIR
from core.errors import UserError
from core.verify import read, seeded

FOLDER = Path(__file__).parents[4] / "golden"
SMALL = {"dim": 12, "window": 4, "drop_path": 0.0}


def official(name):
    """Weights under the official names, as the golden files' recipe makes them."""
    facts, tensors = read(FOLDER / name)
    weights = {k: torch.from_numpy(seeded(k, shape, facts.seed)) for k, shape in facts.weights.items()}
    return facts, weights, tensors


def networks(scale):
    return {
        "hat": HAT(scale, **SMALL, depths=(2, 2), heads=(2, 2), overlap=1, squeeze=4),
        "drct": DRCT(scale, **SMALL, heads=(3, 3), growth=4),
        "swinir": SwinIR(scale, **SMALL, depths=(2,), heads=(2,)),
    }


@pytest.mark.parametrize(("file", "scale"), [("hat/whole_x2", 2), ("drct/whole_x2", 2), ("swinir/whole_x4_classic", 4)])
def test_a_release_file_gives_the_releases_output(tmp_path, file, scale):
    facts, weights, tensors = official(f"{file}.safetensors")
    network = networks(scale)[facts.system].eval()
    released = {f"module.{k}": v for k, v in weights.items()}
    released["module.relative_position_index_SA"] = torch.zeros(4, 4, dtype=torch.long)
    if facts.system != "hat":
        del released["module.relative_position_index_SA"]
        released["module.layers.0.residual_group.blocks.1.attn_mask"] = torch.zeros(4, 16, 16)
        released["module.layers.0.residual_group.blocks.1.attn.relative_position_index"] = torch.zeros(16, 16)
    path = tmp_path / "released.pth"
    torch.save({"params": {k: torch.zeros_like(v) for k, v in released.items()}, "params_ema": released}, path)
    load_release(network, path)
    with torch.no_grad():
        y = network(facts.inputs["x"])
    assert (y - tensors["output/0"]).norm() < 1e-5 * y.norm()


def test_another_scale(tmp_path):
    _, weights, _ = official("hat/whole_x2.safetensors")
    torch.save({"params_ema": weights}, tmp_path / "hat.pth")
    sentence = (
        "checkpoint hat.pth holds x2 weights but the model is built for x4; use a model of scale 2 or the x4 file."
    )
    with pytest.raises(UserError) as error:
        load_release(networks(4)["hat"], tmp_path / "hat.pth")
    assert str(error.value) == sentence


def test_another_width_and_another_architecture(tmp_path):
    _, weights, _ = official("drct/whole_x2.safetensors")
    torch.save(weights, tmp_path / "drct.pth")
    with pytest.raises(UserError, match="width 12 for 3 channels but the model has width 24 and 3 channels"):
        load_release(DRCT(2, **SMALL | {"dim": 24}, heads=(3, 3), growth=4), tmp_path / "drct.pth")
    with pytest.raises(UserError, match=r"checkpoint drct.pth does not fit the model; missing: body.groups.0"):
        load_release(networks(2)["hat"], tmp_path / "drct.pth")
    with pytest.raises(UserError, match=r"Linear: no release of it is known; weights can be loaded into .*DRCT, .*HAT"):
        load_release(nn.Linear(2, 2), tmp_path / "drct.pth")
    with pytest.raises(UserError, match="there is no such file"):
        load_release(networks(2)["hat"], tmp_path / "no.pth")


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("hat/whole_x3_padded", 3),
        ("hat/whole_x4", 4),
        ("hat/whole_x2_gray", 2),
        ("swinir/whole_x2_light", 2),
        ("swinir/whole_x4_real", 4),
        ("swinir/whole_x2_real_unshifted", 2),
        ("swinir/whole_denoise_gray", 1),
    ],
)
def test_the_scale_is_read_from_the_tensors(name, scale):
    _, weights, _ = official(f"{name}.safetensors")
    assert scale_of(weights) == scale


def test_a_file_that_does_not_tell_its_scale():
    assert scale_of({"weight": torch.ones(2)}) is None


def test_facts_of_a_golden_build_the_network_the_file_is_for():
    facts, _, _ = official("hat/whole_x2_options.safetensors")
    network = hat(facts)
    assert isinstance(network.body.enter, nn.Identity) and network.range.value_range == 255
