"""Aggregation over the edges of a relation: every form against a copy of x for every edge."""

import pytest
import torch

from core.ops import csr as module
from core.ops.csr import Csr, csr_mean, csr_sum, csr_sum_reference
from core.ops.csr_attend import csr_attend, csr_attend_reference, csr_softmax, csr_softmax_reference
from core.ops.csr_max import csr_max, csr_max_reference

DOUBLE = torch.float64
# rows, columns, edges: rows and columns without edges, one of each, none of either
SIZES = [(7, 9, 40), (30, 5, 20), (1, 1, 3), (4, 3, 0), (0, 2, 0), (2, 0, 0)]


@pytest.fixture(params=["compiled", "plain"])
def form(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setattr(module, "_kernels", lambda: None)
    else:
        pytest.importorskip("numba")
    return request.param


def drawn(rows, width, edges, dtype=torch.int64):
    made = torch.Generator().manual_seed(rows + edges)
    source = torch.randint(max(width, 1), (edges,), generator=made)
    # The last row has no edge, the first many.
    target = torch.randint(max(rows - 1, 1), (edges,), generator=made) // 2
    csr, _ = Csr.of(torch.stack([source, target]), rows, width)
    return Csr(csr.offsets, csr.columns.to(dtype), width)


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE).requires_grad_()


def agree(ours, theirs, leaves):
    """Values and gradients, of two expressions."""
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    probe = numbers(*ours.shape, seed=5).detach()
    gradients = [torch.autograd.grad((y * probe).sum(), leaves) for y in (ours, theirs)]
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_sums_and_means(form, size, dtype):
    csr = drawn(*size, dtype)
    x = numbers(csr.width, 3)
    agree(csr_sum(x, csr), csr_sum_reference(x, csr), [x])
    degrees = csr.numbers.bincount(minlength=csr.rows).clamp(min=1)
    agree(csr_mean(x, csr), csr_sum_reference(x, csr) / degrees[:, None], [x])
    cube = numbers(csr.width, 2, 3)
    agree(csr_sum(cube, csr), csr_sum_reference(cube, csr), [cube])


@pytest.mark.parametrize("size", SIZES)
def test_weighted_sums(form, size):
    csr = drawn(*size)
    x, w = numbers(csr.width, 3), numbers(csr.edges, seed=1)
    agree(csr_sum(x, csr, w), csr_sum_reference(x, csr, w), [x, w])
    x, w = numbers(csr.width, 2, 3), numbers(csr.edges, 2, seed=1)
    agree(csr_sum(x, csr, w), csr_sum_reference(x, csr, w), [x, w])
    # A weight for every channel.
    x, w = numbers(csr.width, 4, 1), numbers(csr.edges, 4, seed=1)
    agree(csr_sum(x, csr, w), csr_sum_reference(x, csr, w), [x, w])


@pytest.mark.parametrize("size", SIZES)
def test_largest(form, size):
    csr = drawn(*size)
    x = numbers(csr.width, 3)
    agree(csr_max(x, csr), csr_max_reference(x, csr), [x])
    # Equal ones share the gradient.
    whole = x.detach().round().requires_grad_()
    agree(csr_max(whole, csr), csr_max_reference(whole, csr), [whole])


@pytest.mark.parametrize("size", SIZES)
def test_softmax_and_attention(form, size):
    csr = drawn(*size)
    logits = numbers(csr.edges, 2)
    agree(csr_softmax(logits, csr), csr_softmax_reference(logits, csr), [logits])
    agree(csr_softmax(logits[:, 0], csr), csr_softmax_reference(logits[:, 0], csr), [logits])
    leaves = numbers(csr.width, 2, 3), numbers(csr.width, 2, seed=1), numbers(csr.rows, 2, seed=2)
    for slope in (0.2, 0.0):
        agree(csr_attend(*leaves, csr, slope), csr_attend_reference(*leaves, csr, slope), leaves)


def test_the_references_are_loops():
    csr, x = drawn(7, 9, 40), numbers(9, 2, 3)
    source, target = numbers(9, 2, seed=1), numbers(7, 2, seed=2)
    logits = torch.nn.functional.leaky_relu(source[csr.columns] + target[csr.numbers], 0.2)
    for i in range(7):
        own = slice(int(csr.offsets[i]), int(csr.offsets[i + 1]))
        rows = x[csr.columns[own]]
        torch.testing.assert_close(csr_sum_reference(x, csr)[i], rows.sum(0))
        expected = (logits[own].softmax(0)[..., None] * rows).sum(0)
        torch.testing.assert_close(csr_attend_reference(x, source, target, csr)[i], expected)
        if len(rows):
            torch.testing.assert_close(csr_max_reference(x.flatten(1), csr)[i], rows.flatten(1).amax(0))


def test_large_logits_and_rows_without_weight(form):
    csr = Csr(torch.tensor([0, 2, 3]), torch.tensor([0, 1, 1]), 2)
    logits = torch.tensor([1e4, -1e4, -torch.inf])
    assert csr_softmax(logits, csr).tolist() == [1, 0, 0]
    x = torch.ones(2, 1, 1)
    y = csr_attend(x, torch.tensor([[1e4], [-1e4]]), torch.zeros(2, 1), csr)
    assert y.flatten().tolist() == [1, 1]


def test_nan_stays(form):
    csr = Csr(torch.tensor([0, 2, 4]), torch.tensor([0, 1, 1, 2]), 3)
    x = torch.tensor([[torch.nan], [1.0], [2.0]])
    assert csr_max(x, csr).isnan().flatten().tolist() == [True, False]


def test_half_precision_sums_in_single(form):
    csr = Csr(torch.tensor([0, 4096]), torch.zeros(4096, dtype=torch.int64), 1)
    x = torch.ones(1, 1, dtype=torch.bfloat16)
    assert csr_sum(x, csr).item() == 4096 and csr_sum(x, csr).dtype == torch.bfloat16
    assert csr_mean(x, csr).item() == 1


def test_threads_do_not_change_the_result(form, monkeypatch):
    csr = drawn(200, 200, 3000)
    leaves = numbers(200, 2, 8), numbers(200, 2, seed=1), numbers(200, 2, seed=2)

    def run():
        made = csr_attend(*leaves, csr), csr_sum(leaves[0], csr), csr_max(leaves[0].flatten(1), csr)
        return [*made, *torch.autograd.grad(sum(y.square().sum() for y in made), leaves)]

    alone, before = run(), torch.get_num_threads()
    if form == "compiled":
        monkeypatch.setattr(module._kernels(), "SHARE", 1000)
    try:
        torch.set_num_threads(3)
        for a, b in zip(alone, run(), strict=True):
            assert torch.equal(a, b) if form == "compiled" else torch.allclose(a, b)
    finally:
        torch.set_num_threads(before)


def test_transposed_twice_is_the_same(form):
    csr = drawn(30, 40, 200, torch.int32)
    turned = csr.transposed
    assert (turned.rows, turned.width) == (40, 30) and turned is csr.transposed
    # Edges of a column in the order of rows, as a stable sort has them.
    assert torch.equal(csr.order.long(), torch.argsort(csr.columns, stable=True))
    assert torch.equal(turned.columns.long(), csr.numbers[csr.order.long()])
    assert torch.equal(turned.numbers, csr.columns[csr.order.long()].long())
    again = turned.transposed
    assert torch.equal(again.offsets, csr.offsets)
    assert all(a.sort()[0].equal(b.sort()[0]) for a, b in zip(_rows(again), _rows(csr), strict=True))


def _rows(csr):
    return [row.long() for row in csr.columns.split(csr.degrees.tolist())]


def test_a_symmetric_relation_is_its_own_transpose(form):
    edges = torch.tensor([[0, 1, 0, 2, 1, 2, 2], [1, 0, 2, 0, 2, 1, 2]])
    made, _ = Csr.of(edges[:, edges[0].argsort(stable=True)], 3)
    csr = Csr(made.offsets, made.columns, 3, symmetric=True)
    assert csr.transposed is csr
    x, w = numbers(3, 2), numbers(7, seed=1)
    agree(csr_sum(x, csr), csr_sum_reference(x, csr), [x])
    agree(csr_sum(x, csr, w), csr_sum_reference(x, csr, w), [x, w])


def test_first_rows():
    csr, x = drawn(30, 40, 200), numbers(40, 2)
    assert torch.equal(csr_sum(x, csr.first(5)), csr_sum(x, csr)[:5])


def test_of_keeps_the_order_within_a_row():
    csr, order = Csr.of(torch.tensor([[4, 3, 4, 0], [1, 0, 0, 1]]), 2, 5)
    assert csr.offsets.tolist() == [0, 2, 4] and csr.columns.tolist() == [3, 4, 4, 0]
    assert order.tolist() == [1, 2, 0, 3]


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match=r"columns lie in 0 \.\. 5, they must be in 0 \.\. 4"):
        Csr.of(torch.tensor([[0, 5], [0, 1]]), 2, 5)
    with pytest.raises(ValueError, match=r"targets lie in -1 \.\. 1, there are 2 rows"):
        Csr.of(torch.tensor([[0, 4], [-1, 1]]), 2, 5)
    with pytest.raises(ValueError, match=r"shape \(2, E\)"):
        Csr.of(torch.zeros(3, 2, dtype=torch.int64), 2)
    with pytest.raises(ValueError, match="whole numbers"):
        Csr.of(torch.zeros(2, 2), 2)
    with pytest.raises(ValueError, match="make them int64"):
        Csr(torch.zeros(2, dtype=torch.int32), torch.zeros(0, dtype=torch.int64), 1)
    for offsets in ([0, 3, 1], [1, 3], [0, 2], []):
        with pytest.raises(ValueError, match="rise from 0"):
            Csr(torch.tensor(offsets, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), 1).check()
    # What is given unchecked is looked at before a loop reads it.
    wrong = Csr(torch.tensor([0, 1, 2]), torch.tensor([0, 9]), 3)
    x = torch.zeros(3, 2)
    for use in (
        lambda: csr_sum(x, wrong),
        lambda: csr_sum(x, wrong, torch.ones(2)),
        lambda: csr_max(x, wrong),
        lambda: csr_attend(x[..., None], x, x[:2], wrong),
        lambda: csr_softmax(torch.zeros(2), wrong),
        lambda: wrong.transposed,
    ):
        if module._kernels() is not None:
            with pytest.raises(ValueError, match=r"columns lie in 0 \.\. 9"):
                use()
    csr = drawn(7, 9, 40)
    with pytest.raises(ValueError, match="x has 8 rows, the relation 9 columns"):
        csr_sum(torch.zeros(8, 2), csr)
    with pytest.raises(ValueError, match="40 edges need weights"):
        csr_sum(torch.zeros(9, 2), csr, torch.zeros(39))
    with pytest.raises(ValueError, match="8 rows"):
        csr_max(torch.zeros(8, 2), csr)
    with pytest.raises(ValueError, match="39 logits and 40 edges"):
        csr_softmax(torch.zeros(39), csr)
    with pytest.raises(ValueError, match=r"needs \(M, H, D\)"):
        csr_attend(torch.zeros(9, 2, 3), torch.zeros(9, 2), torch.zeros(9, 2), csr)
    with pytest.raises(ValueError, match="slope -1"):
        csr_attend(torch.zeros(9, 2, 3), torch.zeros(9, 2), torch.zeros(7, 2), csr, slope=-1)
