"""TimeXer: equal to its release, and what it reads beyond it."""

import copy
from pathlib import Path

import pytest
import torch
from gluonts.torch.distributions import NegativeBinomialOutput, StudentTOutput

from apps.timeseries.heads import Distribution, Quantiles
from apps.timeseries.models import timexer_layers
from apps.timeseries.models.goldens_timexer import TIMEXER
from apps.timeseries.models.timexer import TimeXer
from apps.timeseries.models.timexer_layers import CrossAttention, PatchTokens
from core.verify import read, verify

GOLDENS = sorted((Path(__file__).parents[3] / "golden" / "timexer").glob("*.safetensors"))
L, H, K = 24, 5, 2
SMALL = {"dim": 8, "heads": 2, "depth": 2, "hidden": 12, "patch_length": 6, "dropout": 0.0}
COUNTS = {"target_dim": K, "num_feat_dynamic_real": 3, "num_past_feat_dynamic_real": 1, "num_time_feat": 2}


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
@pytest.mark.parametrize("unprojected", [False, True])
def test_equals_the_release(monkeypatch, path, unprojected):
    monkeypatch.setattr(timexer_layers, "_few_queries", lambda queries, tokens: unprojected)
    results = verify(path, TIMEXER[read(path)[0].cls])
    assert results and [r for r in results if not r.ok] == []


def test_there_are_goldens():
    assert len(GOLDENS) == 11


def make(length=L, **changes):
    torch.manual_seed(0)
    return TimeXer(length, H, **(SMALL | changes)).double()


def everything(length=L, covariates=L, seed=1):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "past_target": normal(3, length, K),
        "past_feat_dynamic_real": normal(3, covariates, 1),
        "feat_dynamic_real": normal(3, covariates + H, 3),
        "time_feat": normal(3, covariates + H, 2),
    }


@pytest.mark.parametrize("targets, tokens", [(1, 5), (3, 7), (2, 1), (1, 0)])
@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_cross_attention_by_maps_of_the_queries_is_that_by_maps_of_the_tokens(monkeypatch, targets, tokens, rate):
    torch.manual_seed(0)
    net = CrossAttention(8, 2, rate).double()
    queries, exogenous = torch.randn(3, targets, 8).double(), torch.randn(3, tokens, 8).double()
    leaves = [queries.requires_grad_(), exogenous.requires_grad_(), *net.parameters()]

    # The same entries dropped, which the two forms lay out as (B, heads K, T) and (B, heads, K, T).
    kept = (torch.rand(3, 2 * targets, tokens) >= rate) / (1 - rate)

    def attention(q, k, v, dropout_p):
        weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
        return (weights * kept.view(weights.shape) if dropout_p else weights) @ v

    monkeypatch.setattr(timexer_layers.F, "scaled_dot_product_attention", attention)
    monkeypatch.setattr(timexer_layers, "dropout", lambda x, share, training: x * kept if share else x)
    found = []
    for unprojected in (False, True):
        monkeypatch.setattr(timexer_layers, "_few_queries", lambda q, t, form=unprojected: form)
        y = net(queries, exogenous)
        found.append((y, *torch.autograd.grad(y.square().sum(), leaves)))
    assert tokens < 2 or all(g.any() for g in found[0])
    for projected, unprojected in zip(*found, strict=True):
        torch.testing.assert_close(unprojected, projected, rtol=1e-10, atol=1e-10)


def test_maps_of_the_queries_are_taken_where_they_save_work():
    def few(batch, targets, tokens, dim):
        return timexer_layers._few_queries(torch.empty(batch, targets, dim), torch.empty(batch, tokens, dim))

    assert few(4, 1, 6, 512) and few(32, 1, 20, 64)
    assert not few(4, 1, 6, 64) and not few(32, 7, 11, 512) and not few(32, 1, 0, 512)


def horizon_gradient(net):
    given = everything()
    for name in ("feat_dynamic_real", "time_feat"):
        given[name].requires_grad_(True)
    net(**given).square().sum().backward()
    return [given[name].grad[:, L:].abs().sum((0, 1)) for name in ("feat_dynamic_real", "time_feat")]


def test_every_known_covariate_is_read_over_the_horizon_and_the_calendar_if_asked_for():
    known, calendar = horizon_gradient(make(**COUNTS, future_time_feat=True))
    assert (known > 0).all() and (calendar > 0).all()
    known, calendar = horizon_gradient(make(**COUNTS))
    assert (known > 0).all() and (calendar == 0).all()


def test_past_covariates_and_calendar_are_read_over_their_whole_look_back():
    given = everything(covariates=30)
    for value in given.values():
        value.requires_grad_(True)
    make(**COUNTS, covariate_length=30)(**given).square().sum().backward()
    for name in ("past_feat_dynamic_real", "feat_dynamic_real"):
        assert (given[name].grad.abs().sum((0, 2)) > 0).all(), name
    assert (given["time_feat"].grad.abs().sum((0, 2)) > 0).tolist() == [True] * 30 + [False] * H


def test_of_longer_covariates_the_newest_steps_are_read():
    net, given = make(**COUNTS, future_time_feat=True), everything()
    longer = dict(given)
    for name in ("past_feat_dynamic_real", "feat_dynamic_real"):
        longer[name] = torch.cat([torch.full_like(given[name][:, :4], 99.0), given[name]], 1)
    torch.testing.assert_close(net(**longer), net(**given))


def test_a_covariate_that_only_moves_in_the_horizon_does_not_explode():
    net, x = make(num_feat_dynamic_real=1, linear_skip=True), torch.randn(1, L, 1).double()
    torch.nn.init.normal_(net.skip.weight, std=0.05)
    flag = torch.zeros(1, L + H, 1).double()
    flag[:, L:] = 1
    assert (net(x, feat_dynamic_real=flag) - net(x, feat_dynamic_real=0 * flag)).abs().max() < 10


def test_a_linear_skip_starts_at_nothing_and_reads_the_horizon():
    plain, skipping = make(**COUNTS), make(**COUNTS, linear_skip=True)
    skipping.load_state_dict(plain.state_dict(), strict=False)
    given = everything()
    torch.testing.assert_close(skipping(**given), plain(**given))
    skipping(**given).square().sum().backward()
    assert (skipping.skip.weight.grad != 0).all()


def test_variate_tokens_tell_covariates_apart():
    given = everything()
    swapped = given | {"feat_dynamic_real": given["feat_dynamic_real"][..., [1, 0, 2]]}
    plain, told = make(**COUNTS), make(**COUNTS, variate_tokens=True)
    torch.testing.assert_close(plain(**swapped), plain(**given))
    torch.nn.init.normal_(told.variate_tokens)
    assert (told(**swapped) - told(**given)).abs().max() > 1e-6


@pytest.mark.parametrize("length", [6, 7, 23, 25])
def test_the_newest_steps_are_kept_and_every_step_is_read(length):
    x = torch.randn(2, length, K).double().requires_grad_(True)
    make(length, target_dim=K)(x).square().sum().backward()
    assert (x.grad.abs().sum((0, 2)) > 0).all()
    tokens = PatchTokens(length, K, 8, 6).double()
    x = torch.zeros(1, length, K).double()
    before = tokens(x)[0]
    x[:, -6:] = 1
    changed = (tokens(x)[0] - before).abs().sum((0, 1, 3)) > 0
    assert changed.tolist() == [False] * (tokens.count - 1) + [True, False]


def test_as_released_the_newest_steps_are_dropped():
    tokens = PatchTokens(27, K, 8, 6, drop_tail=True)
    x = torch.randn(1, 27, K)
    kept = tokens(x)[0]
    x[:, 24:] = 99
    assert torch.equal(tokens(x)[0], kept) and tokens.count == 4


def test_what_stands_at_unobserved_places_does_not_matter():
    net, given = make(**COUNTS).train(), everything()
    observed = torch.rand(3, L, K, generator=torch.Generator().manual_seed(2)) > 0.3
    observed[1, -8:] = False  # a whole patch among them
    observed[2, :, 0] = False
    found = []
    for garbage in (0.0, 1e4, float("nan")):
        x = given["past_target"].masked_fill(~observed, garbage).requires_grad_(True)
        y = net(**(given | {"past_target": x}), past_observed_values=observed)
        found.append((y, *torch.autograd.grad(y.square().mean(), [x, *net.parameters()])))
    for other in found[1:]:
        for value, expected in zip(other, found[0], strict=True):
            torch.testing.assert_close(value, expected)
    assert found[0][0].isfinite().all() and (found[0][1][~observed] == 0).all()


def test_a_patch_without_any_observed_step_is_not_attended():
    tokens = PatchTokens(12, 1, 8, 6)
    observed = torch.ones(1, 12, 1, dtype=torch.bool)
    observed[:, :6] = False
    assert tokens(torch.zeros(1, 12, 1), observed)[1].tolist() == [[[False, True, True]]]
    layer = make(target_dim=1).layers[0]
    x, exogenous = torch.randn(1, 1, 3, 8).double(), torch.randn(1, 2, 8).double()
    real, changed = tokens(torch.zeros(1, 12, 1), observed)[1], x.clone()
    changed[:, :, 0] += 1
    torch.testing.assert_close(layer(changed, exogenous, real)[:, :, 1:], layer(x, exogenous, real)[:, :, 1:])
    assert (layer(changed, exogenous) - layer(x, exogenous))[:, :, 1:].abs().max() > 1e-3


def test_observed_everywhere_is_the_same_as_no_mask():
    net, given = make(**COUNTS), everything()
    observed = torch.ones(3, L, K, dtype=torch.bool)
    torch.testing.assert_close(net(**given, past_observed_values=observed), net(**given))


def test_a_window_without_any_observation_gives_a_finite_forecast():
    net, given = make(**COUNTS).train(), everything()
    given["past_target"] = torch.full((3, L, K), float("nan"), dtype=torch.float64)
    forecast = net(**given, past_observed_values=torch.zeros(3, L, K, dtype=torch.bool))
    forecast.sum().backward()
    assert forecast.isfinite().all() and all(p.grad.isfinite().all() for p in net.parameters())


def test_without_any_other_series_the_target_is_forecast_from_itself():
    net, x = make(), torch.randn(2, L, 1).double()
    forecast = net(x)
    forecast.sum().backward()
    assert forecast.shape == (2, H, 1) and forecast.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_static_attributes_count_and_unseen_categories_share_a_row():
    net, x = make(num_feat_static_real=2, cardinality=[3, 2]), torch.randn(1, L, 1).double()

    def forecast(code, number=1.0):
        numbers = torch.full((1, 2), number, dtype=torch.float64)
        return net(x, feat_static_real=numbers, feat_static_cat=torch.tensor([[code, 1]]))

    assert (forecast(0) - forecast(1)).abs().max() > 1e-6
    assert (forecast(0) - forecast(0, 3.0)).abs().max() > 1e-6
    torch.testing.assert_close(forecast(3), forecast(9))


@pytest.mark.parametrize("extra", [{}, {"covariate_length": 30}])
def test_several_targets_see_each_other_and_differ(extra):
    net, given = make(**COUNTS, **extra), everything(covariates=extra.get("covariate_length", L))
    x = given["past_target"].requires_grad_(True)
    forecast = net(**given)
    assert forecast.shape == (3, H, K)
    for k in range(K):
        gradient = torch.autograd.grad(forecast[..., k].square().sum(), x, retain_graph=True)[0]
        assert (gradient.abs().sum((0, 1)) > 0).all()
    same = given | {"past_target": x[..., :1].expand(-1, -1, K)}
    assert (net(**same)[..., 0] - net(**same)[..., 1]).abs().max() > 1e-6, "each has its own global token"


def test_a_sample_alone_is_forecast_as_in_a_batch():
    net, given = make(**COUNTS), everything()
    observed = torch.rand(3, L, K, generator=torch.Generator().manual_seed(2)) > 0.3
    whole = net(**given, past_observed_values=observed)
    for n in range(3):
        one = {name: value[n : n + 1] for name, value in given.items()}
        torch.testing.assert_close(net(**one, past_observed_values=observed[n : n + 1]), whole[n : n + 1])


def test_the_forecast_moves_with_the_level_and_the_unit():
    net, given = make(**COUNTS), everything()
    moved = net(**(given | {"past_target": 1000 * given["past_target"] + 300}))
    torch.testing.assert_close(moved, 1000 * net(**given) + 300, rtol=1e-3, atol=1.0)


def test_dropout_in_training_alone_and_on_the_forecast_only_if_asked_for():
    given = everything()
    net = make(**COUNTS, dropout=0.5)
    assert not torch.equal(net(**given), net(**given))
    net.eval()
    assert torch.equal(net(**given), net(**given))
    net = make(**COUNTS, head_dropout=1.0, normalize=False).train()
    assert not net(**given).any()
    assert make(**COUNTS, dropout=0.5, normalize=False).train()(**given).all()


def test_quantiles_come_sorted():
    forecast = make(**COUNTS, head=Quantiles([0.1, 0.5, 0.9]))(**everything())
    assert forecast.shape == (3, H, K, 3) and (forecast.diff(dim=-1) >= 0).all()


@pytest.mark.parametrize("output", [StudentTOutput, NegativeBinomialOutput])
def test_a_distribution_can_be_trained(output):
    net = make(**COUNTS, head=Distribution(output()))
    target = torch.randint(0, 9, (3, H, K)).double()
    given = everything()
    given["past_target"] = given["past_target"].abs()
    loss = net.head.loss(net(**given), target, torch.ones(3, H, K, dtype=torch.bool))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_a_few_steps_of_training_fit_a_sine():
    net = make().train()
    phase = torch.linspace(0, 6, 16)[:, None, None]
    series = torch.sin(0.7 * torch.arange(L + H)[None, :, None] + phase).double()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss = (net(series[:, :L]) - series[:, L:]).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.1, f"{loss:.3f}, the variance is {series.var():.3f}"


def test_copies_and_state_dicts_carry_everything():
    net, given = make(**COUNTS), everything()
    net(**given).sum().backward()
    twin, other = copy.deepcopy(net), make(**COUNTS)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(twin(**given), net(**given))
    torch.testing.assert_close(other(**given), net(**given))


@pytest.mark.parametrize("unprojected", [False, True])
def test_compiled_and_in_bfloat16(monkeypatch, unprojected):
    monkeypatch.setattr(timexer_layers, "_few_queries", lambda queries, tokens: unprojected)
    net = make(**COUNTS, future_time_feat=True).float().eval()
    given = {name: value.float() for name, value in everything().items()}
    expected = net(**given)
    torch.testing.assert_close(torch.compile(net, backend="aot_eager", fullgraph=True)(**given), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(net(**given).float(), expected, rtol=0.05, atol=0.1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"time_feat": None}, "time_feat is missing: the network was built with 2"),
        ({"feat_dynamic_real": None}, "feat_dynamic_real is missing"),
        ({"feat_dynamic_real": torch.zeros(3, L + H, 2)}, "2 columns, the network was built with 3"),
        ({"feat_dynamic_real": torch.zeros(3, L, 3)}, "24 steps, the network reads 29"),
        ({"past_feat_dynamic_real": torch.zeros(3, L, 0)}, "0 columns, the network was built with 1"),
        ({"past_target": torch.zeros(3, L - 1, K)}, r"past_target is \(23, 2\), expected \(24, 2\)"),
        ({"past_target": torch.zeros(3, L, 1)}, r"past_target is \(24, 1\), expected \(24, 2\)"),
        ({"feat_static_real": torch.zeros(3, 1)}, "0 static numbers and 0 static categories; give exactly these"),
    ],
)
def test_wrong_inputs_are_named(change, said):
    with pytest.raises(ValueError, match=said):
        make(**COUNTS)(**(everything() | change))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dim": 9}, "dim 9 is not a multiple of heads 2"),
        ({"patch_length": 25}, "patch_length 25 does not fit into context_length 24"),
        ({"patch_length": 0}, "patch_length 0 does not fit"),
    ],
)
def test_wrong_arguments_are_named(arguments, said):
    with pytest.raises(ValueError, match=said):
        make(**arguments)
