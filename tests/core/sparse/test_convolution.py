"""Sparse convolutions against dense ones, forward and backward, in float64."""

import copy
import pickle

import pytest
import torch
from torch.nn import functional as F

from core.ops.sparse_conv import (
    sparse_conv,
    sparse_conv_reference,
    sparse_depthwise,
    sparse_depthwise_reference,
)
from core.sparse import (
    InverseConv,
    SparseAveragePool,
    SparseConv,
    SparseMaxPool,
    SparseTensor,
    SubmanifoldConv,
    SubmanifoldDepthwiseConv,
    TransposedConv,
)
from core.sparse.rulebook import strided_pairs, submanifold_pairs
from core.testing.sparse import TRANSPOSED, at, cloud, dense_conv, gradients

GRIDS = {1: (11,), 2: (6, 7), 3: (5, 6, 7)}
COUNTS = {"one sample": [20], "an empty sample": [9, 0, 14], "one site": [1], "no site": [0, 0], "full": [7, 30]}


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def tensor(counts, rank, channels=4):
    limit = {1: 11, 2: 42, 3: 210}[rank]
    return cloud([min(count * (4 if rank == 3 else 1), limit) for count in counts], GRIDS[rank], channels)


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize(
    ("kernel", "dilation"),
    [
        ((3,), (1,)),
        ((5,), (2,)),
        ((3, 3), (1, 1)),
        ((1, 5), (1, 1)),
        ((3, 5), (2, 1)),
        ((5, 1), (1, 1)),
        ((3, 3, 3), (1, 1, 1)),
        ((1, 1, 13), (1, 1, 1)),
        ((1, 13, 1), (1, 1, 1)),
        ((3, 1, 3), (1, 2, 2)),
        ((1, 1, 1), (1, 1, 1)),
        ((5, 3, 1), (1, 1, 1)),
        ((3, 3, 3), (2, 2, 2)),
    ],
)
def test_submanifold(kernel, dilation, counts):
    rank = len(kernel)
    x, features = tensor(counts, rank)
    conv = SubmanifoldConv(4, 3, kernel, dilation=dilation).double()
    y = conv(x)
    padding = tuple(d * (k // 2) for k, d in zip(kernel, dilation, strict=True))
    dense = dense_conv(x.dense(), conv.weight, conv.bias, padding=padding, dilation=dilation)
    assert y.sites is x.sites
    close(y.features, at(dense, x.sites))
    leaves = [features, conv.weight, conv.bias]
    close(gradients(y.features, leaves), gradients(at(dense, x.sites), leaves))


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [
        ((3,), (2,), (1,), (1,)),
        ((2,), (1,), (0,), (3,)),
        ((4,), (3,), (2,), (1,)),
        ((3, 3), (2, 2), (1, 1), (1, 1)),
        ((3, 3), (1, 1), (1, 1), (1, 1)),
        ((2, 3), (2, 1), (0, 1), (1, 2)),
        ((3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1)),
        ((3, 1, 1), (2, 1, 1), (0, 0, 0), (1, 1, 1)),
        ((3, 3, 3), (2, 2, 2), (0, 1, 1), (1, 1, 1)),
        ((3, 3, 3), (1, 1, 1), (0, 1, 2), (1, 1, 2)),
        ((2, 2, 2), (2, 2, 2), (0, 0, 0), (1, 1, 1)),
        ((1, 1, 1), (2, 2, 2), (0, 0, 0), (1, 1, 1)),
    ],
)
def test_strided_and_back(kernel, stride, padding, dilation, counts):
    x, features = tensor(counts, len(kernel))
    sizes = {"stride": stride, "padding": padding, "dilation": dilation}
    conv = SparseConv(4, 3, kernel, **sizes).double()
    y = conv(x)
    dense = dense_conv(x.dense(), conv.weight, conv.bias, **sizes)
    assert y.grid == dense.shape[1:-1]
    # Sites are exactly where a window holds an occupied place.
    occupied = x.replace(torch.ones(len(x.sites), 1, dtype=torch.float64)).dense()
    seen = dense_conv(occupied, torch.ones(1, *kernel, 1, dtype=torch.float64), **sizes)[..., 0] > 0.5
    assert torch.equal(y.coords, seen.nonzero())
    close(y.features, at(dense, y.sites))
    leaves = [features, conv.weight, conv.bias]
    close(gradients(y.features, leaves), gradients(at(dense, y.sites), leaves))

    inverse = InverseConv(3, 2, kernel, **sizes, bias=False).double()
    back = inverse(y, x)
    assert back.sites is x.sites
    # The transposed dense convolution, cut to the input's grid.
    weight = inverse.weight.movedim(-1, 0).movedim(1, 1)
    full = TRANSPOSED[len(kernel)](y.dense().movedim(-1, 1), weight, None, stride, 0, 0, 1, dilation)
    ends = [p + n for p, n in zip(padding, x.grid, strict=True)]
    missing = [max(0, e - n) for e, n in zip(ends, full.shape[2:], strict=True)]
    full = F.pad(full, [n for m in reversed(missing) for n in (0, m)])
    window = tuple(slice(p, e) for p, e in zip(padding, ends, strict=True))
    close(back.features, at(full[(slice(None), slice(None), *window)].movedim(1, -1), x.sites))


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "extra", "dilation"),
    [
        ((3,), (2,), (1,), (1,), (1,)),
        ((2, 2), (2, 2), (0, 0), (0, 0), (1, 1)),
        ((3, 2), (1, 3), (1, 0), (0, 2), (2, 1)),
        ((3, 3, 3), (2, 2, 2), (1, 1, 1), (0, 1, 0), (1, 1, 1)),
        ((2, 1, 3), (2, 1, 2), (0, 0, 1), (0, 0, 0), (1, 1, 2)),
    ],
)
def test_transposed(kernel, stride, padding, extra, dilation, counts):
    x, features = tensor(counts, len(kernel))
    conv = TransposedConv(
        4, 3, kernel, stride=stride, padding=padding, output_padding=extra, dilation=dilation
    ).double()
    y = conv(x)
    weight = conv.weight.movedim(-1, 0)
    dense = TRANSPOSED[len(kernel)](x.dense().movedim(-1, 1), weight, conv.bias, stride, padding, extra, 1, dilation)
    dense = dense.movedim(1, -1)
    assert y.grid == dense.shape[1:-1]
    close(y.features, at(dense, y.sites))
    leaves = [features, conv.weight, conv.bias]
    close(gradients(y.features, leaves), gradients(at(dense, y.sites), leaves))


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize("kernel", [(3,), (1, 5), (3, 3, 3), (1, 1, 13), (1, 13, 1), (5, 1, 3)])
def test_depthwise(kernel, counts):
    x, features = tensor(counts, len(kernel))
    conv = SubmanifoldDepthwiseConv(4, kernel, bias=True).double()
    torch.nn.init.normal_(conv.bias)
    y = conv(x)
    # One dense kernel whose channels do not mix.
    weight = torch.diag_embed(conv.weight).movedim(-1, 0)
    dense = dense_conv(x.dense(), weight, conv.bias, padding=tuple(k // 2 for k in kernel))
    close(y.features, at(dense, x.sites))
    leaves = [features, conv.weight, conv.bias]
    close(gradients(y.features, leaves), gradients(at(dense, x.sites), leaves))


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, None, 0), (3, 2, 1), ((1, 3, 2), 1, (0, 1, 0))])
def test_pooling(kernel, stride, padding, counts):
    x, features = tensor(counts, 3)
    lowered = x.replace(x.features - 5)
    y = SparseMaxPool(kernel, stride=stride, padding=padding)(lowered)
    # Empty places are -inf, so that negative features keep their maximum.
    dense = torch.full((x.batch_size, *x.grid, 4), -torch.inf, dtype=torch.float64)
    dense = dense.index_put(tuple(x.coords.unbind(1)), lowered.features).movedim(-1, 1)
    pooled = at(F.max_pool3d(dense, kernel, stride, padding).movedim(1, -1), y.sites)
    close(y.features, pooled)
    assert len(y.features) == 0 or bool((y.features < 0).any())
    close(gradients(y.features, [features]), gradients(pooled, [features]))

    mean = SparseAveragePool(kernel, stride=stride, padding=padding)(x)
    assert mean.sites is not x.sites and torch.equal(mean.coords, y.coords)
    size = SparseMaxPool(kernel, stride=stride, padding=padding)
    sizes = {"stride": size.stride, "padding": size.padding}
    identity = torch.eye(4, dtype=torch.float64)[:, None, None, None].expand(4, *size.kernel, 4)
    count = x.replace(torch.ones_like(x.features)).dense()
    expected = at(dense_conv(x.dense(), identity, **sizes), y.sites) / at(dense_conv(count, identity, **sizes), y.sites)
    close(mean.features, expected)
    close(gradients(mean.features, [features]), gradients(expected, [features]))


def test_ops_equal_their_references():
    x, features = tensor([30, 0, 12], 3)
    weight = torch.randn(3, 3, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    line = torch.randn(3, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    for pairs in (
        submanifold_pairs(x.sites, (3, 3, 3), (1, 1, 1)),
        strided_pairs(x.sites, (3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1)).pairs,
    ):
        ours, theirs = (op(x.features, weight, pairs, bias) for op in (sparse_conv, sparse_conv_reference))
        close(ours, theirs)
        leaves = [features, weight, bias]
        close(gradients(ours, leaves), gradients(theirs, leaves))
        ours, theirs = (op(x.features, line, pairs) for op in (sparse_depthwise, sparse_depthwise_reference))
        close(ours, theirs)
        close(gradients(ours, [features, line]), gradients(theirs, [features, line]))


def test_a_part_of_the_gradients():
    x, features = tensor([30], 3)
    conv = SubmanifoldConv(4, 3).double()
    whole = gradients(conv(x).features, [features, conv.weight])
    conv.weight.requires_grad_(False)
    close(gradients(conv(x).features, [features]), whole[:1])
    conv.weight.requires_grad_(True)
    close(gradients(conv(x.replace(x.features.detach())).features, [conv.weight]), whole[1:])


def test_pairs_are_made_once_and_each_row_occurs_once_a_tap():
    x, _ = tensor([40, 0, 25], 3)
    pairs = submanifold_pairs(x.sites, (3, 3, 3), (1, 1, 1))
    assert submanifold_pairs(x.sites, [3, 3, 3], [1, 1, 1]) is pairs
    step = strided_pairs(x.sites, (3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1))
    assert strided_pairs(x.sites, (3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1)) is step
    for taps in (pairs.taps, step.pairs.taps):
        assert [tap.position for tap in taps] == list(range(27))
        for _, source, target in taps:
            if source is not None:
                assert len(source.unique()) == len(source) and len(target.unique()) == len(target)


def test_samples_do_not_see_each_other():
    """Alone, together, in another order: the same features."""
    x, _ = cloud([30, 0, 45, 20], (4, 5, 6), 4)
    layers = [
        SubmanifoldConv(4, 4).double(),
        SparseConv(4, 4, 3, stride=2, padding=1).double(),
        SubmanifoldDepthwiseConv(4, (3, 3, 3)).double(),
        SubmanifoldConv(4, 4, (1, 1, 13)).double(),
    ]

    def run(tensor):
        for layer in layers:
            tensor = layer(tensor)
        return tensor

    y = run(x)
    turn = torch.tensor([2, 0, 3, 1])
    coords = x.coords.clone()
    coords[:, 0] = turn[coords[:, 0]]
    turned = run(SparseTensor.of(x.features, coords, x.grid, 4))
    for sample in range(4):
        rows = y.coords[:, 0] == sample
        others = turned.coords[:, 0] == turn[sample]
        assert torch.equal(y.features[rows], turned.features[others])
        mine = x.coords[:, 0] == sample
        alone_coords = x.coords[mine].clone()
        alone_coords[:, 0] = 0
        alone = run(SparseTensor.of(x.features[mine], alone_coords, x.grid, 1))
        close(alone.features, y.features[rows])


def test_the_order_of_the_rows_does_not_matter():
    x, _ = cloud([50, 20], (4, 5, 6), 4, dtype=torch.float32)
    conv = SubmanifoldConv(4, 4)
    shuffle = torch.randperm(len(x.coords))
    other = SparseTensor.of(x.features[shuffle], x.coords[shuffle], x.grid, 2)
    assert torch.equal(conv(other).features, conv(x).features)
    assert torch.equal(other.sites.restore(conv(other).features), conv(x).features[shuffle])


def test_gradcheck():
    x, features = cloud([6, 0, 3], (3, 3, 3), 2)
    conv = SparseConv(2, 2, 3, stride=2, padding=1).double()
    assert torch.autograd.gradcheck(
        lambda f, *_: conv(x.replace(x.sites.sort(f))).features, (features, conv.weight, conv.bias)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast(dtype):
    x, _ = cloud([60], (4, 5, 6), 8, dtype=torch.float32)
    x = x.replace(x.features.detach())
    for layer in (SubmanifoldConv(8, 8), SubmanifoldDepthwiseConv(8, (3, 3, 3), bias=True)):
        exact = layer(x).features
        with torch.autocast("cpu", dtype):
            y = layer(x).features
        assert y.dtype == dtype
        assert (y.float() - exact).norm() < 1e-2 * exact.norm()
        y.float().square().sum().backward()
        assert all(p.grad.isfinite().all() and p.grad.dtype == torch.float32 for p in layer.parameters())
        half = copy.deepcopy(layer).to(dtype)(x.replace(x.features.to(dtype))).features
        assert half.dtype == dtype


def test_copy_pickle_and_state():
    conv = SubmanifoldConv(4, 3, (3, 1, 3))
    x, _ = cloud([10], (4, 4, 4), 4, dtype=torch.float32)
    expected = conv(x).features
    assert torch.equal(copy.deepcopy(conv)(x).features, expected)
    assert torch.equal(pickle.loads(pickle.dumps(conv))(x).features, expected)
    assert {k: tuple(v.shape) for k, v in conv.state_dict().items()} == {"weight": (3, 3, 1, 3, 4), "bias": (3,)}


def test_wrong_calls_say_what_to_do():
    x, _ = cloud([10], (4, 4, 4), 4)
    with pytest.raises(ValueError, match="odd sizes"):
        SubmanifoldConv(4, 4, 2)
    with pytest.raises(ValueError, match="odd sizes"):
        SubmanifoldDepthwiseConv(4, (1, 1, 4))
    with pytest.raises(ValueError, match="dim=4"):
        SubmanifoldConv(3, 4).double()(x)
    with pytest.raises(ValueError, match="one size an axis"):
        SubmanifoldConv(4, 4, (3, 3)).double()(x)
    with pytest.raises(ValueError, match="larger grid"):
        SparseConv(4, 4, 5).double()(x)
    with pytest.raises(ValueError, match="give the tensor"):
        InverseConv(4, 4, 3, stride=2, padding=1).double()(x, x)
    with pytest.raises(ValueError, match="stride"):
        SparseConv(4, 4, 3, stride=(2, 2))


@pytest.mark.parametrize("make", [SubmanifoldConv, SparseConv, SubmanifoldDepthwiseConv])
def test_results_repeat_with_one_thread_and_with_two(make):
    x, features = cloud([300, 0, 400], (8, 16, 16), 16, dtype=torch.float32)
    # A flat kernel, because threads that wait for each other are slow on a machine at work.
    kernel = (1, 3, 3)
    conv = make(16, kernel) if make is SubmanifoldDepthwiseConv else make(16, 16, kernel)
    before, first = torch.get_num_threads(), None
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for _ in range(40):
                y = conv(x).features
                found = [y, *gradients(y, [features, conv.weight])]
                first = first or found
                assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, first, strict=True))
    finally:
        torch.set_num_threads(before)
