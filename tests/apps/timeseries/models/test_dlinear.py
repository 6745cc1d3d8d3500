"""DLinear: equal to its release, and what it does beyond it."""

from pathlib import Path

import pytest
import torch
from gluonts.torch.distributions import StudentTOutput

from apps.timeseries.heads import Distribution, Quantiles
from apps.timeseries.models.dlinear import DLinear, fill_forward, moving_average
from apps.timeseries.models.goldens_timexer import DLINEAR
from core.verify import read, verify

GOLDENS = sorted((Path(__file__).parents[3] / "golden" / "dlinear").glob("*.safetensors"))
L, H, K = 23, 5, 2


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_equals_the_release(path):
    results = verify(path, DLINEAR[read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_there_are_goldens():
    assert [path.stem for path in GOLDENS] == ["model", "model_individual"]


def make(length=L, **changes):
    torch.manual_seed(0)
    return DLinear(length, H, **({"target_dim": K, "kernel": 5} | changes)).double()


@pytest.fixture
def window():
    return torch.randn(3, L, K, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("kernel", [1, 3, 25])
def test_the_moving_average_is_a_mean_with_both_ends_repeated(window, kernel):
    expected = torch.empty_like(window)
    for step in range(L):
        places = [min(max(step + k - kernel // 2, 0), L - 1) for k in range(kernel)]
        expected[:, step] = window[:, places].mean(1)
    torch.testing.assert_close(moving_average(window, kernel), expected)


def test_missing_values_take_the_last_one_seen_or_the_first():
    x = torch.tensor([9.0, 9, 3, 9, 5, 9]).view(1, 6, 1)
    seen = torch.tensor([False, False, True, False, True, False]).view(1, 6, 1)
    assert fill_forward(x, seen).flatten().tolist() == [3, 3, 3, 3, 5, 5]
    assert not fill_forward(x, torch.zeros_like(seen)).any()


def test_what_stands_at_unobserved_places_does_not_matter(window):
    observed = torch.rand(3, L, K, generator=torch.Generator().manual_seed(2)) > 0.4
    observed[0] = False
    net, found = make(), []
    for garbage in (0.0, 1e4, float("nan")):
        x = window.masked_fill(~observed, garbage).requires_grad_(True)
        y = net(x, past_observed_values=observed)
        found.append((y, *torch.autograd.grad(y.square().mean(), [x, *net.parameters()])))
    for other in found[1:]:
        for value, expected in zip(other, found[0], strict=True):
            torch.testing.assert_close(value, expected)
    assert found[0][0].isfinite().all() and (found[0][1][~observed] == 0).all()
    everywhere = torch.ones_like(observed)
    torch.testing.assert_close(net(window, past_observed_values=everywhere), net(window))


@pytest.mark.parametrize("individual", [False, True])
def test_targets_are_apart_and_share_weights_unless_individual(window, individual):
    net = make(individual=individual)
    assert net.trend_weight.shape == (K if individual else 1, H, L)
    changed = window.clone()
    changed[..., 1] += torch.randn(3, L).double()
    assert torch.equal(net(changed)[..., 0], net(window)[..., 0])
    torch.nn.init.normal_(net.trend_weight)
    same = window[..., :1].expand(-1, -1, K)
    assert torch.allclose(net(same)[..., 0], net(same)[..., 1]) != individual


def test_it_starts_as_the_mean_of_the_window(window):
    net = make()
    with torch.no_grad():
        net.seasonal_bias.zero_(), net.trend_bias.zero_()
    torch.testing.assert_close(net(window), window.mean(1, keepdim=True).expand(-1, H, -1))


@pytest.mark.parametrize("length", [1, 4, 30])
def test_any_look_back_even_below_the_kernel(length):
    x = torch.randn(2, length, K).double().requires_grad_(True)
    forecast = make(length, kernel=25)(x)
    forecast.square().sum().backward()
    assert forecast.shape == (2, H, K) and (x.grad.abs().sum((0, 2)) > 0).all()


def test_quantiles_come_sorted(window):
    forecast = make(head=Quantiles([0.1, 0.5, 0.9]))(window)
    assert forecast.shape == (3, H, K, 3) and (forecast.diff(dim=-1) >= 0).all()


@pytest.mark.parametrize("individual", [False, True])
def test_a_distribution_can_be_trained(window, individual):
    net = make(head=Distribution(StudentTOutput()), individual=individual)
    loss = net.head.loss(net(window), torch.randn(3, H, K).double(), torch.ones(3, H, K, dtype=torch.bool))
    loss.backward()
    assert loss.isfinite() and all(p.grad.isfinite().all() for p in net.parameters())


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match="kernel 4 is even"):
        make(kernel=4)


@pytest.mark.parametrize("shape", [(3, L - 1, K), (3, L, K + 1)])
def test_another_window_is_refused_in_one_sentence(shape):
    with pytest.raises(ValueError, match=rf"past_target is \({shape[1]}, {shape[2]}\), expected \({L}, {K}\)"):
        make()(torch.zeros(shape).double())
