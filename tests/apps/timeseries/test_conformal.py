"""Conformal quantiles cover what they promise, on held-out windows and on new ones."""

import pytest
import torch

from apps.timeseries.conformal import calibrate, shifts

LEVELS = (0.1, 0.5, 0.9)


def test_coverage_on_new_windows():
    torch.manual_seed(0)
    steps = torch.linspace(0.5, 3, 6)[:, None]
    held_out, new = (torch.randn(4000, 6, 2) * steps + 1 for _ in range(2))
    shift = shifts(torch.zeros_like(held_out), held_out, LEVELS)
    quantiles = calibrate(torch.zeros_like(new), shift)
    for n, level in enumerate(LEVELS):
        below = (new <= quantiles[..., n]).double().mean(0)
        assert (below - level).abs().max() < 0.03


def test_quantile_forecasts_are_corrected_level_by_level():
    torch.manual_seed(0)
    target = torch.randn(3000, 1, 1)
    base = torch.tensor([-9.0, 0.5, 0.1]).expand(3000, 1, 1, 3)  # far too low, off, too low
    quantiles = calibrate(base, shifts(base, target, LEVELS))[0, 0, 0]
    torch.testing.assert_close(quantiles, torch.tensor([-1.28, 0.0, 1.28]), atol=0.08, rtol=0)


def test_ranks_are_those_of_the_finite_sample():
    target = torch.arange(1.0, 10.0).view(9, 1, 1)  # nine windows: ten per cent lie below the smallest
    shift = shifts(torch.zeros(9, 1, 1), target, LEVELS)[0, 0]
    assert shift.tolist() == [1, 5, 9]


def test_missing_values_do_not_count():
    target = torch.arange(1.0, 10.0).view(9, 1, 1)
    holes = torch.cat([target, torch.full((5, 1, 1), float("nan"))])
    assert torch.equal(shifts(torch.zeros(14, 1, 1), holes, LEVELS), shifts(torch.zeros(9, 1, 1), target, LEVELS))
    nothing = shifts(torch.zeros(2, 1, 1), torch.full((2, 1, 1), float("nan")), LEVELS)
    assert nothing.eq(0).all()


@pytest.mark.parametrize("shape", [(5, 3, 2), (5, 3, 2, 3)])
def test_calibrated_quantiles_increase(shape):
    torch.manual_seed(1)
    base, target = torch.randn(shape), torch.randn(5, 3, 2)
    assert (calibrate(base, shifts(base, target, LEVELS)).diff(dim=-1) >= 0).all()
