"""Heads: losses by hand, quantiles, distributions."""

import pytest
import torch
import torch.nn.functional as F
from gluonts.torch.distributions import NegativeBinomialOutput, NormalOutput, StudentTOutput

from apps.timeseries.heads import Distribution, Point, Quantiles, smooth_l1

LOC, SCALE = torch.tensor([[[2.0, -1.0]]]), torch.tensor([[[3.0, 0.5]]])


def test_point_undoes_the_normalisation():
    raw = torch.randn(4, 5, 2, 1)
    prediction = Point().finish(raw, LOC, SCALE)
    assert torch.equal(prediction, raw[..., 0] * SCALE + LOC)
    with pytest.raises(ValueError, match="no quantiles"):
        Point().quantiles(prediction, [0.5])


def test_losses_skip_what_was_not_observed():
    head, prediction, target = Point(smooth_l1), torch.zeros(1, 4, 1), torch.tensor([1.0, 0.02, 9.0, 9.0]).view(1, 4, 1)
    observed = torch.tensor([True, True, False, False]).view(1, 4, 1)
    assert head.loss(prediction, target, observed).item() == pytest.approx(((1 - 0.05) + 0.02**2 / (2 * 0.1)) / 2)
    assert head.loss(prediction, target, torch.zeros_like(observed)).item() == 0


def test_pinball_loss_is_least_at_the_quantile_and_absolute_at_the_median():
    head = Quantiles([0.2, 0.5])
    target = torch.arange(101.0).view(1, 101, 1)
    observed = torch.ones_like(target, dtype=torch.bool)

    def loss(low, median):
        return head.loss(torch.tensor([low, median]).expand(1, 101, 1, 2), target, observed).item()

    assert loss(20.0, 50.0) < min(loss(15.0, 50.0), loss(25.0, 50.0), loss(20.0, 45.0))
    single = Quantiles([0.5]).loss(torch.zeros(1, 101, 1, 1), target, observed)
    assert single.item() == pytest.approx(F.l1_loss(torch.zeros(1, 101, 1), target).item())


def test_quantiles_never_cross_and_are_linear_between_levels():
    head = Quantiles([0.1, 0.5, 0.9])
    prediction = head.finish(torch.randn(3, 4, 2, 3), LOC, SCALE)
    assert (prediction.diff(dim=-1) >= 0).all()
    between = head.quantiles(prediction, [0.01, 0.3, 0.5])
    assert torch.equal(between[..., 0], prediction[..., 0])
    torch.testing.assert_close(between[..., 1], (prediction[..., 0] + prediction[..., 1]) / 2)
    assert torch.equal(head.point(prediction), prediction[..., 1])


@pytest.mark.parametrize("levels", [[], [0.5, 0.1], [0.1, 0.1], [0.0, 0.5], [0.5, 1.0]])
def test_levels_must_increase_inside_the_unit_interval(levels):
    with pytest.raises(ValueError, match="must increase"):
        Quantiles(levels)


@pytest.mark.parametrize("output", [NormalOutput(), StudentTOutput(), NegativeBinomialOutput()])
def test_distributions_train_and_give_increasing_quantiles(output):
    head = Distribution(output)
    raw = torch.randn(3, 4, 2, head.size, requires_grad=True)
    loc = torch.zeros(3, 1, 2) if isinstance(output, NegativeBinomialOutput) else LOC.expand(3, 1, 2)
    prediction = head.finish(raw, loc, SCALE.expand(3, 1, 2))
    target = torch.randint(0, 5, (3, 4, 2)).float()
    first = head.loss(prediction, target, torch.ones_like(target, dtype=torch.bool))
    second = head.loss(prediction, target, torch.ones_like(target, dtype=torch.bool))
    assert first.item() == second.item()  # asking does not change what is asked
    first.backward()
    assert raw.grad.isfinite().all()
    quantiles = head.quantiles(prediction, [0.1, 0.5, 0.9])
    assert (quantiles.diff(dim=-1) >= 0).all() and head.point(prediction).shape == target.shape


def test_normal_head_is_the_normal_distribution():
    head = Distribution(NormalOutput())
    prediction = head.finish(torch.randn(2, 3, 2, 2), LOC, SCALE)
    made = head.distribution(prediction)
    target = torch.randn(2, 3, 2)
    mean, deviation = made.mean, made.variance.sqrt()
    expected = -torch.distributions.Normal(mean, deviation).log_prob(target).mean()
    torch.testing.assert_close(head.loss(prediction, target, torch.ones_like(target, dtype=torch.bool)), expected)
