"""Dropout from 16 bits an entry is dropout."""

import pytest
import torch
from torch.nn import functional as F

from core.ops.dropout import dropout


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


@pytest.mark.parametrize("shape", [(7, 3, 5), (41, 67, 3)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_gradient_is_the_mask(dtype, shape):
    torch.manual_seed(0)
    x = (torch.rand(shape) + 1).to(dtype).requires_grad_(True)
    y = dropout(x, 0.3, True)
    y.sum().backward()
    torch.testing.assert_close(y, x * x.grad)
    assert y.dtype == dtype and (x.grad == 0).any()


def test_a_transposed_input_is_dropped_in_its_place():
    torch.manual_seed(0)
    x = torch.rand(200, 90).T + 1
    y = dropout(x, 0.4, True)
    kept = y != 0
    torch.testing.assert_close(y[kept], x[kept] / 0.6, rtol=2e-4, atol=0)


@pytest.mark.parametrize("count", [50, 20_001])
def test_a_seed_repeats_it_and_no_training_is_no_dropout(count):
    x = torch.ones(count)
    torch.manual_seed(3)
    first = dropout(x, 0.5, True)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.5, True), first)
    assert dropout(x, 0.5, False) is x and dropout(x, 0.0, True) is x


def test_few_entries_and_devices_without_this_form_take_that_of_torch():
    x = torch.ones(999)
    torch.manual_seed(1)
    ours = dropout(x, 0.5, True)
    torch.manual_seed(1)
    assert torch.equal(ours, F.dropout(x, 0.5, True))
    assert dropout(torch.ones(100_000, device="meta"), 0.5, True).device.type == "meta"


def test_ends_of_the_range():
    assert (dropout(torch.ones(9), 1.0, True) == 0).all()
    assert (dropout(torch.ones(20_000), 1.0, True) == 0).all()
    assert dropout(torch.ones(0, 4), 0.5, True).shape == (0, 4)
