"""What all forecasting networks of this package promise, whatever they are inside."""

import copy
import inspect

import pytest
import torch
from gluonts.torch.distributions import StudentTOutput

from apps.timeseries.heads import Distribution, Quantiles
from apps.timeseries.models.gateformer import Gateformer
from apps.timeseries.models.itransformer import ITransformer
from apps.timeseries.models.patchtsmixer import PatchTSMixer
from apps.timeseries.models.patchtst import PatchTST
from apps.timeseries.models.timexer import TimeXer

L, H, K = 23, 5, 2
SMALL = {"target_dim": K, "dim": 8, "depth": 2, "dropout": 0.0}
CASES = {
    "timexer": (TimeXer, {"heads": 2, "hidden": 12, "patch_length": 4}),
    "itransformer": (ITransformer, {"heads": 2, "hidden": 12}),
    "patchtsmixer": (PatchTSMixer, {"patch_length": 4, "stride": 3, "head_dropout": 0.0}),
    "patchtsmixer_channels": (
        PatchTSMixer,
        {"patch_length": 4, "stride": 4, "head_dropout": 0.0, "mix_channels": True, "reconcile": True},
    ),
    "patchtst": (PatchTST, {"heads": 2, "hidden": 12, "patch_length": 4, "stride": 3}),
    "patchtst_last_value": (
        PatchTST,
        {"heads": 2, "hidden": 12, "patch_length": 4, "stride": 3, "subtract_last": True},
    ),
    "patchtst_decomposed": (PatchTST, {"heads": 2, "hidden": 12, "patch_length": 4, "stride": 3, "kernel": 5}),
    "gateformer": (Gateformer, {"heads": 2, "hidden": 12, "patch_length": 4, "stride": 3}),
}


def make(name, **changes):
    torch.manual_seed(0)
    cls, arguments = CASES[name]
    return cls(L, H, **(SMALL | arguments | changes)).double()


@pytest.fixture(params=CASES)
def name(request):
    return request.param


@pytest.fixture(params=[name for name in CASES if name != "patchtst_decomposed"])
def probabilistic(request):
    """Networks with any head; forecasts of two networks are summed in the other, which only numbers allow."""
    return request.param


@pytest.fixture
def window():
    return torch.randn(3, L, K, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture
def observed():
    mask = torch.rand(3, L, K, generator=torch.Generator().manual_seed(2)) > 0.3
    mask[1, -4:] = False
    return mask


def test_what_stands_at_unobserved_places_does_not_matter(name, window, observed):
    net = make(name).train()
    forecasts, gradients = [], []
    for garbage in (0.0, 1e4, float("nan")):
        net.zero_grad()
        forecast = net(window.masked_fill(~observed, garbage), past_observed_values=observed)
        forecast.square().mean().backward()
        forecasts.append(forecast.detach())
        gradients.append([p.grad.clone() for p in net.parameters() if p.grad is not None])
    for forecast, gradient in zip(forecasts[1:], gradients[1:], strict=True):
        torch.testing.assert_close(forecast, forecasts[0])
        torch.testing.assert_close(gradient, gradients[0])


def test_observed_everywhere_is_the_same_as_no_mask(name, window):
    net = make(name)
    everywhere = torch.ones_like(window, dtype=torch.bool)
    torch.testing.assert_close(net(window, past_observed_values=everywhere), net(window))


def test_a_series_never_observed_gives_a_finite_forecast(name, window, observed):
    observed[0] = False
    assert net_is_finite(make(name), window, past_observed_values=observed)


def test_a_constant_series_is_continued(name):
    constant = torch.full((1, L, K), 7.0).double()
    torch.testing.assert_close(make(name).eval()(constant), torch.full((1, H, K), 7.0).double(), rtol=0, atol=0.02)


def net_is_finite(net, window, **inputs):
    forecast = net(window, **inputs)
    forecast.sum().backward()
    return forecast.isfinite().all() and all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_a_sample_alone_is_forecast_as_in_a_batch(name, window, observed):
    net = make(name).eval()
    whole = net(window, past_observed_values=observed)
    for n in range(3):
        alone = net(window[n : n + 1], past_observed_values=observed[n : n + 1])
        torch.testing.assert_close(alone, whole[n : n + 1])


def test_the_forecast_moves_with_the_level_and_the_unit(name, window):
    net = make(name).eval()
    moved = net(1000 * window + 300)
    torch.testing.assert_close(moved, 1000 * net(window) + 300, rtol=1e-3, atol=1.0)


def test_the_newest_step_is_read(name, window):
    changed = window.clone()
    changed[:, -1] += 1
    net = make(name).eval()
    assert (net(changed) - net(window)).abs().min() > 0


@pytest.mark.parametrize("length", [4, 5, 24])
def test_any_look_back_from_one_patch_on(name, length):
    torch.manual_seed(0)
    cls, arguments = CASES[name]
    net = cls(length, 1, **(SMALL | arguments))
    assert net(torch.randn(2, length, K)).shape == (2, 1, K)


def test_quantiles_come_sorted(probabilistic, window):
    forecast = make(probabilistic, head=Quantiles([0.1, 0.5, 0.9]))(window)
    assert forecast.shape == (3, H, K, 3)
    assert (forecast.diff(dim=-1) >= 0).all()


def test_a_distribution_can_be_trained(probabilistic, window):
    net = make(probabilistic, head=Distribution(StudentTOutput()))
    loss = net.head.loss(net(window), torch.randn(3, H, K).double(), torch.ones(3, H, K, dtype=torch.bool))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)


def test_a_few_steps_of_training_fit_a_sine(name):
    net = make(name).train()
    t = torch.arange(L + H).double()
    phase = torch.linspace(0, 6, 16)[:, None, None]
    series = torch.sin(0.7 * t[None, :, None] + phase).expand(-1, -1, K)
    past, future = series[:, :L], series[:, L:]
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss = (net(past) - future).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.1, f"{loss:.3f}, the variance is {future.var():.3f}"


def test_copies_and_state_dicts_carry_everything(name, window):
    net = make(name)
    net(window).sum().backward()
    twin = copy.deepcopy(net).eval()
    other = make(name).eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    other.load_state_dict(net.state_dict())
    net.eval()
    torch.testing.assert_close(twin(window), net(window))
    torch.testing.assert_close(other(window), net(window))


def test_another_window_is_refused_in_one_sentence(name, window):
    with pytest.raises(ValueError, match=f"expected \\({L}, {K}\\)"):
        make(name)(window[:, 1:])


def test_what_a_network_cannot_use_is_not_in_its_signature(name):
    cls = CASES[name][0]
    inputs = inspect.signature(cls.forward).parameters
    for counted in ("past_feat_dynamic_real", "feat_dynamic_real", "time_feat", "feat_static_real"):
        assert (f"num_{counted}" in inspect.signature(cls).parameters) == (counted in inputs)
