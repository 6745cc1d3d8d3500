"""Neighbourhood attention in tiles against the gather of every query's keys."""

from math import prod

import pytest
import torch

from core.ops.neighbourhood import neighbourhood_attention, neighbourhood_reference, tile_bias, tile_plan

MAPS = [
    ((6, 11), (5, 5), (1, 1)),
    ((7, 9), (3, 3), (2, 2)),
    ((7, 10), (3, 3), (3, 3)),  # classes shorter than the kernel
    ((19, 33), (7, 7), (2, 3)),
    ((2, 40), (7, 7), (8, 8)),  # classes of one token
    ((1,), (3,), (4,)),
    ((130,), (9,), (1,)),
    ((4, 5, 6), (3, 3, 3), (1, 2, 1)),
]


@pytest.mark.parametrize(("grid", "kernel", "dilation"), MAPS)
def test_tiles_are_the_definition(grid, kernel, dilation):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, *grid, 2, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    table = torch.randn(prod(2 * s - 1 for s in kernel), 2, dtype=torch.float64, requires_grad=True)
    plan = tile_plan(grid, kernel, dilation, q.device)
    ours = neighbourhood_attention(q, k, v, kernel, dilation, bias=tile_bias(plan, table), scale=0.7)
    theirs = neighbourhood_reference(q, k, v, kernel, dilation, table=table, scale=0.7)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    probe = torch.randn_like(ours)
    leaves = [q, k, v, table]
    for a, b in zip(torch.autograd.grad(ours, leaves, probe), torch.autograd.grad(theirs, leaves, probe), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)
    with torch.no_grad():
        fused = neighbourhood_attention(q, k, v, kernel, dilation, bias=tile_bias(plan, table), scale=0.7)
        torch.testing.assert_close(fused, theirs, rtol=1e-12, atol=1e-12)
        plain = neighbourhood_attention(q, k, v, kernel, dilation)
        torch.testing.assert_close(plain, neighbourhood_reference(q, k, v, kernel, dilation), rtol=1e-12, atol=1e-12)


def test_every_query_sees_exactly_its_nearest_keys():
    """On an axis of 8 with kernel 3 and dilation 2, written out by hand."""
    value = torch.eye(8).view(1, 8, 1, 8)
    zero = torch.zeros(1, 8, 1, 8)
    seen = neighbourhood_attention(zero, zero, value, (3,), (2,))[0, :, 0] > 0
    expected = [[0, 2, 4], [1, 3, 5], [0, 2, 4], [1, 3, 5], [2, 4, 6], [3, 5, 7], [2, 4, 6], [3, 5, 7]]
    assert [row.nonzero().flatten().tolist() for row in seen] == expected


def test_keeps_less_than_a_third_of_what_the_gather_keeps():
    kept = []
    for form in (neighbourhood_attention, neighbourhood_reference):
        storages = {}

        def pack(t, storages=storages):
            storages[t.untyped_storage().data_ptr()] = (t, t.untyped_storage().nbytes())
            return t

        q, k, v = (torch.randn(1, 56, 56, 2, 32, requires_grad=True) for _ in range(3))
        table = torch.randn(169, 2, requires_grad=True)
        given = {"table": table}
        if form is neighbourhood_attention:
            given = {"bias": tile_bias(tile_plan((56, 56), (7, 7), (1, 1), q.device), table)}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            form(q, k, v, (7, 7), (1, 1), **given)
        kept.append(sum(size for _, size in storages.values()))
    assert kept[0] * 3 < kept[1]


def test_refuses_even_kernels_and_other_ranks():
    q = torch.zeros(1, 4, 4, 1, 2)
    with pytest.raises(ValueError, match="odd kernels"):
        neighbourhood_attention(q, q, q, (4, 3), (1, 1))
    with pytest.raises(ValueError, match="one number a grid axis"):
        neighbourhood_attention(q, q, q, (3,), (1,))
