"""Release files and folders into networks: three key schemes, parts put together, errors in one sentence."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from apps.audio.models import MossFormer, MossFormer2
from apps.audio.models.checkpoints import load_release
from apps.audio.models.waveform import SeparationNetwork
from core.errors import UserError
from core.verify import read, seeded

FOLDER = Path(__file__).parents[3] / "golden"


def official(name):
    """Weights under the official names, as the golden files' recipe makes them, and the tables a release keeps."""
    facts, tensors = read(FOLDER / f"{name}.safetensors")
    weights = {key: torch.from_numpy(seeded(key, shape, facts.seed)) for key, shape in facts.weights.items()}
    for key in list(weights):
        if key.endswith("qk_offset_scale.beta"):
            weights[key.replace("qk_offset_scale.beta", "rotary_pos_emb.freqs")] = torch.zeros(16)
        if key.endswith("pos_enc.scale"):
            weights[key.replace("scale", "inv_freq")] = torch.zeros(3)
    return weights, next(iter(facts.inputs.values())), tensors


def in_parts(weights, folder, net, suffix):
    """A folder of three files, each without the prefix that its module has in the whole."""
    folder.mkdir()
    for part, prefix in (("encoder", "encoder."), ("masknet", net), ("decoder", "decoder.")):
        own = {key.removeprefix(prefix): tensor for key, tensor in weights.items() if key.startswith(prefix)}
        torch.save(own, folder / f"{part}.{suffix}")
    return folder


def check(network, path, mixture, output):
    load_release(network, path)
    with torch.no_grad():
        y = network.eval()(mixture)
    assert (y - output).norm() < 1e-5 * output.norm()


def test_standalone_release(tmp_path):
    weights, mixture, tensors = official("mossformer2/model_2spk")
    output = tensors["output/0"].mT
    folder = in_parts(weights, tmp_path / "librimix", "masknet.", "ckpt")
    check(MossFormer2(32, 2, official=True), folder, mixture, output)
    (tmp_path / "hub").mkdir()
    save_file(weights, tmp_path / "hub" / "model.safetensors")
    check(MossFormer2(32, 2, official=True), tmp_path / "hub", mixture, output)


def test_weights_that_map(tmp_path):
    weights, mixture, tensors = official("mossformer2/model_whamr_mapping")
    torch.save(weights, tmp_path / "whamr.pt")
    network = MossFormer2(16, 1, mapping=True, official=True)
    check(network, tmp_path / "whamr.pt", mixture, tensors["output/0"].mT)


def test_clearervoice_release(tmp_path):
    weights, mixture, tensors = official("mossformer2/model_clearervoice")
    output = torch.stack([tensors["output/0"], tensors["output/1"]], 1)
    content = {"model": {f"module.{key}": t for key, t in weights.items()}, "optimizer": {}, "epoch": 3, "step": 7}
    torch.save(content, tmp_path / "epoch3.pt")
    check(MossFormer2(24, 2, official=True), tmp_path / "epoch3.pt", mixture, output)
    (tmp_path / "last_best_checkpoint").write_text("/elsewhere/epoch3.pt\n")
    check(MossFormer2(24, 2, official=True), tmp_path, mixture, output)


def test_modelscope_release(tmp_path):
    weights, mixture, tensors = official("mossformer/model_2spk")
    folder = in_parts(weights, tmp_path / "mossformer", "mask_net.", "bin")
    network = MossFormer(32, 3, key_dim=24, group=16, official=True)
    check(network, folder, mixture, tensors["output/0"].mT)


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (MossFormer(32, 2), "holds weights of MossFormer2 but the model is a MossFormer; use that class."),
        (MossFormer2(16, 2, inner=8), "weights of width 32 but the model has width 16; build it with dim=32."),
        (
            MossFormer2(32, 2, speakers=3),
            "separates 2 speakers but the model is built for 3; build it with speakers=2.",
        ),
        (MossFormer2(32, 3), "missing: "),
        (MossFormer2(32, 1), "the model has no such tensor"),
    ],
)
def test_another_network(tmp_path, network, sentence):
    weights, _, _ = official("mossformer2/model_2spk")
    torch.save(weights, tmp_path / "weights.pt")
    with pytest.raises(UserError) as error:
        load_release(network, tmp_path / "weights.pt")
    assert sentence in str(error.value) and str(error.value).startswith("checkpoint weights.pt")


def test_folders_that_are_none(tmp_path):
    network = MossFormer2(16, 1, inner=8)
    with pytest.raises(UserError, match="holds no release"):
        load_release(network, tmp_path)
    torch.save({"conv1d.weight": torch.zeros(16, 1, 16)}, tmp_path / "encoder.ckpt")
    with pytest.raises(UserError, match=r"masknet.ckpt is missing beside encoder.ckpt"):
        load_release(network, tmp_path)
    with pytest.raises(UserError, match="there is no such file"):
        load_release(network, tmp_path / "nothing.pt")
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(UserError, match="not a readable checkpoint"):
        load_release(network, tmp_path / "cut.pt")


def test_other_networks_have_no_release(tmp_path):
    with pytest.raises(UserError, match="can be loaded into ConvTasNet, DPRNN, MossFormer, MossFormer2, SepFormer"):
        load_release(SeparationNetwork(nn.Identity(), 4), tmp_path)
