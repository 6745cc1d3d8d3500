import pytest
import torch

from core.ops.table_attention import table_attend, table_attend_reference
from core.partitions import Windows, group_plan

torch.manual_seed(0)
HEADS, WIDTH, VALUES = 2, 4, 3


def made(shape, cells, axes):
    q, k = (torch.randn(*shape, HEADS, WIDTH, dtype=torch.float64, requires_grad=True) for _ in range(2))
    v = torch.randn(*shape, HEADS, VALUES, dtype=torch.float64, requires_grad=True)
    tables = tuple(
        torch.randn(2 * cells - 1, axes, HEADS, width, dtype=torch.float64, requires_grad=True)
        for width in (WIDTH, WIDTH, VALUES)
    )
    return q, k, v, tables


def agree(ours, theirs, leaves):
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-11)
    probe = torch.randn_like(ours)
    own, other = (torch.autograd.grad((y * probe).sum(), leaves, materialize_grads=True) for y in (ours, theirs))
    torch.testing.assert_close(own, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("extents", [(4, 4, 4), (4, 1, 4), (2, 4, 3)])
def test_equal_to_the_tables_of_every_pair_in_ragged_groups(extents):
    q, k, v, tables = made((1, 23), 4, 3)
    cells = torch.stack([torch.randint(n, (23,)) for n in extents], -1)
    ids = torch.randint(5, (23,))
    plan = group_plan(ids, ids, cells.double(), cells.double())
    ours = table_attend(q, k, v, cells, extents, tables, plan)
    agree(ours, table_attend_reference(q, k, v, cells, tables, plan), [q, k, v, *tables])


def test_equal_on_grids_of_several_samples():
    q, k, v, tables = made((3, 5, 4), 3, 2)
    plan = Windows((3, 2), (1, 0)).plan((5, 4))
    cells = torch.randint(3, (5, 4, 2))
    ours = table_attend(q, k, v, cells, (3, 3), tables, plan, scale=0.3)
    theirs = table_attend_reference(q, k, v, cells, tables, plan.as_index(), scale=0.3)
    agree(ours, theirs, [q, k, v, *tables])


def test_without_tables_it_is_attention():
    q, k, v, tables = made((1, 9), 3, 2)
    ids, cells = torch.zeros(9, dtype=torch.int64), torch.randint(3, (9, 2))
    plan = group_plan(ids, ids, cells.double(), cells.double())
    ours = table_attend(q, k, v, cells, (3, 3), tuple(torch.zeros_like(t) for t in tables), plan)
    heads_first = [t.transpose(1, 2) for t in (q, k, v)]
    theirs = torch.nn.functional.scaled_dot_product_attention(*heads_first).transpose(1, 2)
    torch.testing.assert_close(ours, theirs)
