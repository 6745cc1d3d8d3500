import torch

from core.ops.reorder import reorder


def test_values_and_gradients_of_a_gather():
    rows = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    x = torch.randn(7, 2, 3, dtype=torch.float64, requires_grad=True)
    y = reorder(x, rows, rows.argsort())
    assert torch.equal(y, x[rows])
    probe = torch.randn_like(y)
    assert torch.equal(*(torch.autograd.grad((t * probe).sum(), x)[0] for t in (y, x[rows])))
    assert torch.autograd.gradgradcheck(lambda x: reorder(x, rows, rows.argsort()).pow(3), x)


def test_transforms():
    rows = torch.tensor([2, 0, 1])
    x = torch.randn(4, 3)
    expected = 2 * x
    found = torch.vmap(torch.func.grad(lambda x: reorder(x, rows, rows.argsort()).square().sum()))(x)
    torch.testing.assert_close(found, expected)
