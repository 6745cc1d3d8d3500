"""The memory in pieces against its recurrence, and what it holds."""

import pytest
import torch

from core.ops.legendre import legendre_memory, legendre_memory_reference, legendre_responses, legendre_system


def gradients(y, leaves):
    torch.manual_seed(1)
    return torch.autograd.grad((y * torch.randn_like(y)).sum(), leaves)


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 100])
def test_equals_its_recurrence(length):
    torch.manual_seed(0)
    u = torch.randn(2, length, dtype=torch.float64, requires_grad=True)
    m, last = legendre_memory(u, legendre_responses(6, 15.0))
    assert m.shape == (2, length, 6)
    if length:
        expected = legendre_memory_reference(u, *legendre_system(6, 15.0))
        torch.testing.assert_close(m, expected)
        torch.testing.assert_close(last, expected[:, -1])
        torch.testing.assert_close(gradients(m, (u,)), gradients(expected, (u,)))
    else:
        assert not last.any()


def test_goes_on_from_a_state():
    torch.manual_seed(0)
    responses, u = legendre_responses(5, 20.0), torch.randn(2, 90, dtype=torch.float64)
    whole, last = legendre_memory(u, responses)
    first, state = legendre_memory(u[:, :37], responses)
    second, end = legendre_memory(u[:, 37:], responses, state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(end, last)


def test_the_memory_is_the_last_theta_steps_as_a_polynomial():
    theta, order = 400.0, 12
    place = torch.arange(1000, dtype=torch.float64)
    u = torch.sin(place / 70)[None]
    m, _ = legendre_memory(u, legendre_responses(order, theta))
    past = torch.linspace(0.05, 0.95, 30, dtype=torch.float64)
    polynomials = torch.special.legendre_polynomial_p(2 * past[:, None] - 1, torch.arange(order))
    recalled = polynomials @ m[0, -1]
    torch.testing.assert_close(recalled, torch.sin((999 - past * theta) / 70), atol=2e-2, rtol=0)


def test_single_precision_of_a_large_memory():
    torch.manual_seed(0)
    u, responses = torch.randn(1, 800), legendre_responses(128, 128.0)
    expected = legendre_memory(u.double(), responses)[0]
    assert (legendre_memory(u, responses)[0] - expected).norm() < 1e-5 * expected.norm()
