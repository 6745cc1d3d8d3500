import torch
from torch.nn import functional as F

from core.ops.edge_conv import edge_conv, edge_conv_reference, edge_parts, gather_rows


def test_equal_to_the_layer_on_every_edge():
    torch.manual_seed(0)
    leaves = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((7, 4), (5, 8), (5,))]
    x, weight, bias = leaves
    rows = torch.randint(7, (7, 3))
    rows[2, 1:], rows[5] = -1, -1  # one neighbour, none
    own, near = edge_parts(weight)
    ours = edge_conv(F.linear(x, own, bias), F.linear(x, near), rows)
    theirs = edge_conv_reference(x, weight, bias, rows)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    probe = torch.randn_like(ours)
    gradients = [torch.autograd.grad((y * probe).sum(), leaves) for y in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


def test_samples_with_neighbours_of_their_own():
    own, near, rows = torch.randn(3, 5, 4), torch.randn(3, 6, 4), torch.randint(6, (3, 5, 2))
    alone = [edge_conv(*parts) for parts in zip(own, near, rows, strict=True)]
    torch.testing.assert_close(edge_conv(own, near, rows), torch.stack(alone))
    assert torch.equal(gather_rows(near, rows)[1, 4, 0], near[1, rows[1, 4, 0]])


def test_without_neighbours_a_point_is_left_alone():
    own = torch.randn(5, 4)
    assert torch.equal(edge_conv(own, torch.randn(6, 4), torch.zeros(5, 0, dtype=torch.int64)), own)
