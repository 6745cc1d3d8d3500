"""Sums over rows of one number."""

import pytest
import torch

from core.ops.segments import segment_max, segment_max_reference


@pytest.mark.parametrize(("rows", "count"), [(50, 7), (5, 9), (1, 1), (0, 3), (0, 0)])
def test_largest_equals_the_reference(rows, count):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 3, generator=random, dtype=torch.float64).requires_grad_()
    numbers = torch.randint(max(count, 1), (rows,), generator=random)
    ours, theirs = segment_max(x, numbers, count), segment_max_reference(x, numbers, count)
    assert torch.equal(ours, theirs)
    probe = torch.randn(ours.shape, generator=random, dtype=torch.float64)
    for y in (ours, theirs):
        assert y.shape == (count, 3)
    gradients = [torch.autograd.grad((y * probe).sum(), x)[0] for y in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=0)


def test_equal_rows_share_the_gradient():
    x = torch.tensor([[1.0], [2.0], [2.0], [-1.0]], requires_grad=True)
    y = segment_max(x, torch.tensor([1, 1, 1, 0]), 3)
    assert y[:, 0].tolist() == [-1, 2, 0]
    y.sum().backward()
    assert x.grad[:, 0].tolist() == [0, 0.5, 0.5, 1]


def test_gradcheck():
    x = torch.randn(12, 2, dtype=torch.float64, requires_grad=True)
    numbers = torch.randint(4, (12,))
    assert torch.autograd.gradcheck(lambda x: segment_max(x, numbers, 5), x)


def test_a_largest_value_of_zero_keeps_its_whole_gradient():
    x = torch.tensor([[0.0], [-1.0], [0.0]], dtype=torch.float64, requires_grad=True)
    numbers = torch.tensor([0, 0, 1])
    for form in (segment_max, segment_max_reference):
        (grad,) = torch.autograd.grad(form(x, numbers, 3).sum(), x)
        assert grad.flatten().tolist() == [1, 0, 1]
