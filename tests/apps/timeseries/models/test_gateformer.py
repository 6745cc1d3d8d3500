"""Gateformer: equal to its release; covariates of the past are series that are not forecast."""

from pathlib import Path

import pytest
import torch

from apps.timeseries.models.gateformer import Gateformer
from apps.timeseries.models.goldens_gateformer import GATEFORMER
from core.verify import read, verify

GOLDENS = sorted((Path(__file__).parents[3] / "golden" / "gateformer").glob("*.safetensors"))
SMALL = {"dim": 8, "heads": 2, "depth": 1, "hidden": 12, "patch_length": 4, "stride": 4, "dropout": 0.0}


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_equals_the_release(path):
    results = verify(path, GATEFORMER[read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_past_covariates_reach_the_forecast():
    torch.manual_seed(0)
    net = Gateformer(13, 4, target_dim=2, num_past_feat_dynamic_real=3, **SMALL)
    covariates = torch.randn(2, 15, 3, requires_grad=True)
    forecast = net(torch.randn(2, 13, 2), past_feat_dynamic_real=covariates)
    assert forecast.shape == (2, 4, 2)
    forecast.sum().backward()
    assert (covariates.grad[:, :2] == 0).all() and (covariates.grad[:, 2:].abs().sum((0, 1)) > 0).all()


def test_layers_do_not_start_alike():
    net = Gateformer(12, 4, **SMALL | {"depth": 2})
    assert not torch.equal(net.temporal[0].qkv.weight, net.temporal[1].qkv.weight)
