"""Releases written here: the tensors of the official ones, to the last bit, and the way back."""

from functools import partial
from pathlib import Path

import pytest
import torch

from apps.audio.models import MossFormer, MossFormer2, load_release
from apps.audio.models.export import CLEARERVOICE, MODELSCOPE, STANDALONE, export_release, official_tensors
from core.checkpoint import load
from core.errors import UserError
from core.norms import FrameBatchNorm
from core.verify import read, seeded

FOLDER = Path(__file__).parents[3] / "golden"
CASES = {
    "mossformer2/model_2spk": (STANDALONE, partial(MossFormer2, 32, 2)),
    "mossformer2/model_3spk_short": (STANDALONE, partial(MossFormer2, 16, 1, speakers=3)),
    "mossformer2/model_clearervoice": (CLEARERVOICE, partial(MossFormer2, 24, 2)),
    "mossformer/model_2spk": (MODELSCOPE, partial(MossFormer, 32, 3, key_dim=24, group=16)),
}


def official(name):
    facts, _ = read(FOLDER / f"{name}.safetensors")
    return {key: torch.from_numpy(seeded(key, shape, facts.seed)) for key, shape in facts.weights.items()}


@pytest.mark.parametrize("name", CASES)
def test_the_tensors_of_a_release(name):
    layout, make = CASES[name]
    network, theirs = make(), official(name)
    load(network, theirs, layout.mapping)
    ours = official_tensors(network, layout)
    tables = {key for key in ours if key.endswith(("rotary_pos_emb.freqs", "pos_enc.inv_freq"))}
    assert ours.keys() - tables == theirs.keys() and len(tables) == 1 + len(network.masks.separator.layers)
    for key, tensor in theirs.items():
        assert torch.equal(ours[key], tensor)


@pytest.mark.parametrize("name", CASES)
def test_there_and_back(name, tmp_path):
    layout, make = CASES[name]
    network, again = make(), make()
    export_release(network, tmp_path / "new" / "mine", layout)
    assert sorted(p.name for p in (tmp_path / "new" / "mine").iterdir()) == sorted(layout.files)
    load_release(again, tmp_path / "new" / "mine")
    for ours, theirs in zip(network.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_tables_are_those_of_the_releases():
    network = MossFormer2(8, 1, key_dim=16, inner=8)
    tensors = official_tensors(network, STANDALONE)
    frequencies = tensors["masknet.dual_mdl.0.intra_mdl.mdl.flashT.layers.0.rotary_pos_emb.freqs"]
    torch.testing.assert_close(frequencies, torch.tensor([10000 ** -(i / 8) for i in range(8)]))
    torch.testing.assert_close(tensors["masknet.pos_enc.inv_freq"], torch.tensor([1.0, 0.1, 0.01, 0.001]))


def test_what_is_not_written(tmp_path, monkeypatch):
    network = MossFormer2(8, 1, inner=8)
    with pytest.raises(UserError, match="this release holds a MossFormer; choose"):
        export_release(network, tmp_path / "mine", MODELSCOPE)
    with pytest.raises(UserError, match="FrameBatchNorm: only networks with GlobalNorm"):
        export_release(MossFormer2(8, 1, inner=8, norm=FrameBatchNorm), tmp_path / "mine", STANDALONE)
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something already"):
        export_release(network, full, STANDALONE)

    def fail(content, path):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="no space left"):
        export_release(network, tmp_path / "mine", STANDALONE)
    assert [p.name for p in tmp_path.iterdir()] == ["full"]
