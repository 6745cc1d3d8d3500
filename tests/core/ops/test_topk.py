import pytest
import torch

from core.ops.topk import topk_softmax, topk_softmax_reference


@pytest.mark.parametrize(
    ("rows", "columns", "keep"), [(1, 2, (1, 1)), (3, 5, (2, 3, 3, 4)), (48, 48, (24, 32, 36, 38))]
)
def test_is_the_sum_of_masked_softmaxes(rows, columns, keep):
    torch.manual_seed(0)
    scores = torch.randn(2, 3, rows, columns, dtype=torch.float64, requires_grad=True)
    shares = torch.randn(len(keep), dtype=torch.float64, requires_grad=True)
    ours, theirs = topk_softmax(scores, shares, keep), topk_softmax_reference(scores, shares, keep)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    probe = torch.randn_like(ours)
    for a, b in zip(*(torch.autograd.grad(y, (scores, shares), probe) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_zeros_where_nothing_is_kept_and_no_overflow():
    scores = torch.tensor([[1e4, 2.0, -1e4, 3.0]])
    weights = topk_softmax(scores, torch.tensor([0.5, 0.25]), (1, 2))
    torch.testing.assert_close(weights, torch.tensor([[0.75, 0.0, 0.0, 0.0]]))
    weights = topk_softmax(torch.zeros(1, 4), torch.ones(1), (2,))
    assert (weights > 0).sum() == 2 and weights.sum() == 1


@pytest.mark.parametrize(("shares", "keep"), [(1, (0,)), (1, (5,)), (2, (1,))])
def test_what_cannot_be_is_said(shares, keep):
    with pytest.raises(ValueError, match="one share for each count"):
        topk_softmax(torch.zeros(4, 4), torch.ones(shares), keep)
