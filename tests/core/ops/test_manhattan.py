"""Attention with a decay of the Manhattan distance against its definition."""

import pytest
import torch

from core.ops.manhattan import (
    decay_rates,
    manhattan_attention,
    manhattan_decomposed,
    manhattan_decomposed_reference,
    manhattan_reference,
)


@pytest.mark.parametrize("grid", [(1, 1), (1, 5), (4, 7)])
@pytest.mark.parametrize(
    ("fast", "slow"),
    [(manhattan_attention, manhattan_reference), (manhattan_decomposed, manhattan_decomposed_reference)],
)
def test_fast_form_is_the_definition(fast, slow, grid):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, *grid, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    rates = decay_rates(3, 2, 4)
    ours, theirs = fast(q, k, v, rates, 0.7), slow(q, k, v, rates, 0.7)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    probe = torch.randn_like(ours)
    both = (torch.autograd.grad(y, [q, k, v], probe) for y in (ours, theirs))
    for a, b in zip(*both, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_rates_of_the_paper():
    expected = [torch.tensor(1 - 2.0 ** (-2 - 4 * j / 4)).log() for j in range(4)]
    torch.testing.assert_close(decay_rates(4, 2, 4), torch.stack(expected))


def test_the_two_forms_differ():
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 3, 3, 1, 4) for _ in range(3))
    rates = decay_rates(1, 2, 4)
    assert not torch.allclose(manhattan_attention(q, k, v, rates), manhattan_decomposed(q, k, v, rates), atol=1e-3)
