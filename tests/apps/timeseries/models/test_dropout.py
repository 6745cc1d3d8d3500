"""Dropout from 16 bits an entry is dropout."""

import pytest
import torch

from apps.timeseries.models.dropout import dropout


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_share_and_expectation(rate):
    torch.manual_seed(0)
    y = dropout(torch.ones(200_001), rate, True)
    assert abs((y == 0).double().mean() - rate) < 5e-3
    assert abs(y.double().mean() - 1) < 0.01
    kept = y[y != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - rate)), rtol=2e-4, atol=0)


def test_neighbours_drop_independently():
    torch.manual_seed(0)
    dropped = (dropout(torch.ones(100_000), 0.5, True) == 0).double()
    for lag in (1, 2, 3, 4):
        assert abs((dropped[lag:] * dropped[:-lag]).mean() - 0.25) < 5e-3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_gradient_is_the_mask(dtype):
    torch.manual_seed(0)
    x = (torch.rand(7, 3, 5) + 1).to(dtype).requires_grad_(True)
    y = dropout(x, 0.3, True)
    y.sum().backward()
    torch.testing.assert_close(y, x * x.grad)
    assert y.dtype == dtype and (x.grad == 0).any()


def test_a_seed_repeats_it_and_no_training_is_no_dropout():
    x = torch.ones(50)
    torch.manual_seed(3)
    first = dropout(x, 0.5, True)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.5, True), first)
    assert dropout(x, 0.5, False) is x and dropout(x, 0.0, True) is x


def test_ends_of_the_range():
    assert (dropout(torch.ones(9), 1.0, True) == 0).all()
    assert dropout(torch.ones(0, 4), 0.5, True).shape == (0, 4)
