"""Checkpoints with the names and shapes of the releases' load; others are refused in one sentence."""

from pathlib import Path

import numpy as np
import pytest
import torch

from apps.graph.models.checkpoints import load_release
from apps.graph.models.goldens import GOLDENS
from apps.graph.models.graphgps import GraphGPS
from core.errors import UserError
from core.verify import read, seeded

FOLDER = Path(__file__).parents[3] / "golden"
FILES = [
    "tunedgnn/gcn_bn_res_train",
    "tunedgnn/sage_ln_jk_eval",
    "tunedgnn/gat_prelinear_res_eval",
    "sgformer/model_cat_eval",
    "polynormer/model_global",
    "polynormer/large_gat_preln_postbn_train",
    "largegt/model_local_eval_nobn",
]


def official(name):
    """The network of a golden, and the weights that its release would have saved."""
    facts, _ = read(FOLDER / f"{name}.safetensors")
    weights = {k: torch.from_numpy(np.array(seeded(k, s))) for k, s in facts.weights.items()}
    counters = {k.replace("running_mean", "num_batches_tracked"): torch.tensor(7) for k in weights if "running_m" in k}
    return GOLDENS[facts.system][facts.cls].build(facts), weights | counters


@pytest.mark.parametrize("name", FILES)
def test_release_loads(name, tmp_path):
    model, weights = official(name)
    torch.save(weights, tmp_path / "release.pt")
    before = model.out.weight.clone() if hasattr(model, "out") else model.local_out.weight.clone()
    load_release(model, tmp_path / "release.pt")
    after = model.out.weight if hasattr(model, "out") else model.local_out.weight
    assert not torch.equal(before, after)
    del weights[next(k for k in weights if k.startswith(("pred_local", "fc.", "fc_out")))]
    torch.save(weights, tmp_path / "release.pt")
    with pytest.raises(UserError, match=r"release\.pt does not fit the model; missing"):
        load_release(model, tmp_path / "release.pt")


def test_a_network_without_a_release_is_said(tmp_path):
    with pytest.raises(UserError, match="no release of it is known"):
        load_release(GraphGPS(3, 2), tmp_path / "x.pt")
