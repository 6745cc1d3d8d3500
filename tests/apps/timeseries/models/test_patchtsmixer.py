"""PatchTSMixer: equal to transformers, and what it has beyond it."""

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from apps.timeseries.heads import Quantiles
from apps.timeseries.models import patchtsmixer_layers
from apps.timeseries.models.goldens_patchtsmixer import PATCHTSMIXER
from apps.timeseries.models.patchtsmixer import PatchTSMixer, PatchTSMixerBackbone
from apps.timeseries.models.patchtsmixer_layers import TokenBatchNorm, channel_mixer, patch_mixer
from apps.timeseries.models.patchtsmixer_release import forecaster_mapping, settings
from apps.timeseries.models.patchtsmixer_scalers import MeanScaler, NoScaler, StdScaler
from apps.timeseries.models.positions import normal, sinusoidal
from core import checkpoint
from core.errors import UserError
from core.verify import read, verify

GOLDENS = sorted((Path(__file__).parents[3] / "golden" / "patchtsmixer").glob("*.safetensors"))
SMALL = {"dim": 8, "depth": 1, "patch_length": 4, "stride": 4, "dropout": 0.0, "head_dropout": 0.0}


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_equals_the_release(path):
    results = verify(path, PATCHTSMIXER[read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_patches_end_with_the_newest_step():
    backbone = PatchTSMixerBackbone(12, 1, patch_length=4, stride=3)
    assert backbone.patches(torch.arange(12.0)[None, :, None])[0, 0].tolist() == [
        [2, 3, 4, 5],
        [5, 6, 7, 8],
        [8, 9, 10, 11],
    ]


def test_channels_are_apart_unless_they_mix():
    for mix in (False, True):
        torch.manual_seed(0)
        net = PatchTSMixer(12, 3, target_dim=2, mix_channels=mix, **SMALL)
        x = torch.randn(2, 12, 2, requires_grad=True)
        net(x)[..., 0].sum().backward()
        assert (x.grad[..., 1] != 0).any() == mix


@pytest.mark.parametrize("mix", [False, True])
def test_known_covariates_are_read_over_the_horizon(mix):
    torch.manual_seed(0)
    net = PatchTSMixer(12, 5, target_dim=2, num_feat_dynamic_real=2, num_time_feat=1, mix_channels=mix, **SMALL)
    known, calendar = torch.randn(3, 20, 2, requires_grad=True), torch.randn(3, 20, 1, requires_grad=True)
    net(torch.randn(3, 12, 2), feat_dynamic_real=known, time_feat=calendar).sum().backward()
    for covariate in (known, calendar):
        assert (covariate.grad[:, 15:].abs().sum((0, 2)) > 0).all(), "every step of the horizon"
        assert (covariate.grad[:, :3] == 0).all(), "longer than the look-back"
        assert (covariate.grad[:, 3:14] != 0).any() == mix, "the past is read by the backbone alone"


def test_past_covariates_need_channels_that_mix():
    with pytest.raises(ValueError, match="set mix_channels=True or linear_skip=True"):
        PatchTSMixer(12, 3, num_past_feat_dynamic_real=2, **SMALL)
    torch.manual_seed(0)
    net = PatchTSMixer(12, 3, num_past_feat_dynamic_real=2, mix_channels=True, **SMALL)
    past = torch.randn(2, 12, 2, requires_grad=True)
    net(torch.randn(2, 12, 1), past_feat_dynamic_real=past).sum().backward()
    assert (past.grad.abs().sum((0, 1)) > 0).all()


def test_static_attributes_move_the_forecast():
    torch.manual_seed(0)
    net = PatchTSMixer(12, 3, num_feat_static_real=1, cardinality=[2], **SMALL)
    x, code = torch.randn(1, 12, 1), torch.tensor([[0]])
    one = net(x, feat_static_real=torch.ones(1, 1), feat_static_cat=code)
    assert not torch.equal(one, net(x, feat_static_real=torch.zeros(1, 1), feat_static_cat=code))
    assert not torch.equal(one, net(x, feat_static_real=torch.ones(1, 1), feat_static_cat=1 - code))
    with pytest.raises(ValueError, match="1 static numbers and 1 static categories"):
        net(x, feat_static_cat=code)


def test_quantiles_go_through_the_cross_channel_head():
    torch.manual_seed(0)
    net = PatchTSMixer(12, 5, target_dim=2, num_feat_dynamic_real=1, head=Quantiles([0.1, 0.5, 0.9]), **SMALL)
    known = torch.randn(3, 17, 1, requires_grad=True)
    forecast = net(torch.randn(3, 12, 2), feat_dynamic_real=known)
    assert forecast.shape == (3, 5, 2, 3)
    forecast.sum().backward()
    assert (known.grad[:, 12:] != 0).all()


@pytest.mark.parametrize("position", [None, sinusoidal, normal])
@pytest.mark.parametrize("norm", [nn.LayerNorm, TokenBatchNorm, partial(TokenBatchNorm, eps=1e-3)])
def test_one_patch_is_enough(position, norm):
    net = PatchTSMixer(4, 3, norm=norm, position=position, heads=2, mix_channels=True, **SMALL)
    assert net(torch.randn(2, 4, 1)).shape == (2, 3, 1)


def test_the_start_is_that_of_transformers():
    torch.manual_seed(0)
    net = PatchTSMixer(64, 16, dim=64, depth=2, patch_length=8)
    weights = torch.cat([m.weight.flatten() for m in net.modules() if isinstance(m, nn.Linear)])
    assert math.isclose(weights.std().item(), 0.02, rel_tol=0.02)
    assert all((m.bias == 0).all() for m in net.modules() if isinstance(m, nn.Linear))


def test_token_batch_norm_is_batch_norm_over_all_tokens():
    torch.manual_seed(0)
    x = 3 + 2 * torch.randn(4, 3, 5, 6)
    ours, plain = TokenBatchNorm(6), nn.BatchNorm1d(6)
    torch.testing.assert_close(ours(x), plain(x.movedim(-1, 1).flatten(2)).unflatten(2, (3, 5)).movedim(1, -1))
    torch.testing.assert_close(ours.running_var, plain.running_var)


@pytest.mark.parametrize("make", [channel_mixer, patch_mixer])
def test_rows_and_columns_are_the_same_product(make, monkeypatch):
    torch.manual_seed(0)
    size = {channel_mixer: 3, patch_mixer: 5}[make]
    mixer, x = make(6, size, 2).double(), torch.randn(2, 3, 5, 6).double()
    results = []
    for rows in (False, True):
        monkeypatch.setattr(patchtsmixer_layers, "as_rows", lambda size, numbers, rows=rows: rows)
        z = x.clone().requires_grad_(True)
        y = mixer(z)
        results.append([y, *torch.autograd.grad(y.square().sum(), [z, *mixer.parameters()])])
    torch.testing.assert_close(*results)


def test_settings_read_a_transformers_configuration():
    config = {
        "d_model": 16,
        "num_layers": 2,
        "patch_length": 4,
        "patch_stride": 2,
        "mode": "mix_channel",
        "dropout": 0.1,
    }
    net = PatchTSMixer(12, 3, target_dim=2, **settings(config | {"self_attn": True, "self_attn_heads": 4}))
    assert net.backbone.count == 5 and net.backbone.embedding.weight.shape == (16, 4)
    assert net.backbone.layers[0].patches.attention.heads == 4
    with pytest.raises(ValueError, match="'ramp' is neither sincos nor random"):
        settings({"positional_encoding_type": "ramp"})


def test_a_checkpoint_of_another_size_is_refused_by_name():
    facts, _ = read(next(path for path in GOLDENS if path.stem == "prediction_common"))
    official = {name: torch.zeros(shape) for name, shape in facts.weights.items()}
    net = PatchTSMixer(24, 9, target_dim=3, **settings(facts.config))
    with pytest.raises(UserError, match=r"forecast\.weight: 7x32 in the file, 9x32 in the model"):
        checkpoint.load(net, official, forecaster_mapping())


class TestScalers:
    """Statistics over observed steps; what is not observed counts as 0 afterwards."""

    x = torch.tensor([1.0, 2.0, 6.0, 100.0]).view(1, 4, 1)
    observed = torch.tensor([True, True, True, False]).view(1, 4, 1)

    def test_standard_deviation(self):
        scaled, loc, scale = StdScaler()(self.x, self.observed)
        assert loc.item() == 3 and math.isclose(scale.item(), math.sqrt(14 / 3 + 1e-5), rel_tol=1e-6)
        assert scaled[0, 3] == 0
        torch.testing.assert_close(scaled[0, 0, 0], -2 / scale[0, 0, 0])

    def test_mean_magnitude(self):
        scaled, loc, scale = MeanScaler()(-self.x, self.observed)
        assert (loc.item(), scale.item(), scaled[0, 3].item()) == (0, 3, 0)

    def test_none(self):
        scaled, loc, scale = NoScaler()(self.x, self.observed)
        assert (loc.item(), scale.item()) == (0, 1) and scaled.flatten().tolist() == [1, 2, 6, 0]

    @pytest.mark.parametrize("scaler", [StdScaler, MeanScaler, NoScaler])
    def test_a_series_never_observed_has_scale_one_alone_or_among_others(self, scaler):
        x = torch.cat([self.x, self.x])
        observed = torch.cat([self.observed, torch.zeros_like(self.observed)])
        scaled, loc, scale = scaler()(x, observed)
        assert (scaled[1] == 0).all() and loc[1] == 0 and scale[1] == 1

    def test_as_released_the_unobserved_is_scaled_and_neighbours_lend_their_scale(self):
        x = torch.cat([self.x, 0 * self.x])
        observed = torch.cat([self.observed, torch.zeros_like(self.observed)])
        scaled, loc, scale = StdScaler(as_released=True)(x, observed)
        torch.testing.assert_close(scaled[0, 3], (x[0, 3] - loc[0, 0]) / scale[0, 0])
        torch.testing.assert_close(scale[1], torch.full((1, 1), 1e-5).sqrt())
        assert MeanScaler(as_released=True)(x, observed)[2].flatten().tolist() == [3, 3]
