"""iTransformer: equal to its release, and what it reads beyond it."""

from pathlib import Path

import pytest
import torch

from apps.timeseries.models.goldens_itransformer import ITRANSFORMER
from apps.timeseries.models.itransformer import ITransformer
from core.verify import read, verify

GOLDENS = sorted((Path(__file__).parents[3] / "golden" / "itransformer").glob("*.safetensors"))
SMALL = {"dim": 8, "heads": 2, "depth": 1, "hidden": 12, "dropout": 0.0}
KNOWN = {"target_dim": 2, "num_feat_dynamic_real": 3, "num_past_feat_dynamic_real": 1, "num_time_feat": 2}


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_equals_the_release(path):
    results = verify(path, ITRANSFORMER[read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def inputs(past=12, horizon=4):
    torch.manual_seed(0)
    return {
        "past_target": torch.randn(3, 12, 2),
        "past_feat_dynamic_real": torch.randn(3, past, 1),
        "feat_dynamic_real": torch.randn(3, past + horizon, 3),
        "time_feat": torch.randn(3, past + horizon, 2),
    }


def horizon_gradient(net):
    given = inputs()
    for name in ("feat_dynamic_real", "time_feat"):
        given[name].requires_grad_(True)
    net(**given).sum().backward()
    return [given[name].grad[:, 12:].abs().sum((0, 1)) for name in ("feat_dynamic_real", "time_feat")]


def test_every_known_covariate_and_calendar_is_read_over_the_horizon():
    torch.manual_seed(1)
    assert all((g > 0).all() for g in horizon_gradient(ITransformer(12, 4, **KNOWN, **SMALL)))


def test_as_released_the_horizon_is_not_read():
    torch.manual_seed(1)
    assert all((g == 0).all() for g in horizon_gradient(ITransformer(12, 4, **KNOWN, use_future=False, **SMALL)))


def test_of_longer_covariates_the_newest_steps_are_read():
    net = ITransformer(12, 4, **KNOWN, **SMALL)
    given = inputs(past=20)
    short = {k: v if k == "past_target" else v[:, 8:] for k, v in given.items()}
    torch.testing.assert_close(net(**given), net(**short))


def test_targets_are_a_set():
    torch.manual_seed(0)
    net, x, order = ITransformer(12, 4, target_dim=3, **SMALL), torch.randn(2, 12, 3), [2, 0, 1]
    torch.testing.assert_close(net(x[..., order]), net(x)[..., order])


def test_a_covariate_that_only_moves_in_the_horizon_does_not_explode():
    net = ITransformer(12, 4, num_feat_dynamic_real=1, **SMALL)
    flag = torch.zeros(1, 16, 1)
    flag[:, 12:] = 1
    x = torch.randn(1, 12, 1)
    assert (net(x, feat_dynamic_real=flag) - net(x, feat_dynamic_real=0 * flag)).abs().max() < 10


def test_static_attributes_count_and_unseen_categories_share_a_row():
    net = ITransformer(12, 4, num_feat_static_real=2, cardinality=[3], **SMALL)
    x = torch.randn(1, 12, 1)

    def forecast(code):
        return net(x, feat_static_real=torch.ones(1, 2), feat_static_cat=torch.tensor([[code]]))

    assert not torch.equal(forecast(0), forecast(1))
    torch.testing.assert_close(forecast(3), forecast(9))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"time_feat": None}, "time_feat is missing"),
        ({"feat_dynamic_real": torch.zeros(3, 16, 2)}, "2 columns, the network was built with 3"),
        ({"feat_dynamic_real": torch.zeros(3, 12, 3)}, "12 steps, the network reads 16"),
        ({"past_feat_dynamic_real": torch.zeros(3, 12, 0)}, "0 columns, the network was built with 1"),
    ],
)
def test_wrong_inputs_are_named(change, said):
    with pytest.raises(ValueError, match=said):
        ITransformer(12, 4, **KNOWN, **SMALL)(**(inputs() | change))


def test_heads_divide_the_width():
    with pytest.raises(ValueError, match="dim 9 is not a multiple of heads 2"):
        ITransformer(12, 4, dim=9, heads=2)
