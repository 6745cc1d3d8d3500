"""Any kernel, stride, padding and dilation on any grid, drawn at random: equal to dense convolutions."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.sparse import SparseConv, SubmanifoldConv, SubmanifoldDepthwiseConv, TransposedConv
from core.testing.sparse import TRANSPOSED, at, cloud, dense_conv, gradients


@st.composite
def cases(draw, odd=False):
    """A tensor of any rank, empty samples among them, with a kernel and its sizes."""
    rank = draw(st.integers(1, 3))

    def axes(low, high):
        return tuple(draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank)))

    kernel = tuple(2 * k + 1 for k in axes(0, 2)) if odd else axes(1, 4)
    stride, padding, dilation = axes(1, 3), axes(0, 2), axes(1, 2)
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation, strict=True)]
    grid = tuple(n + m for n, m in zip(least, axes(0, 5), strict=True))
    counts = draw(st.lists(st.integers(0, 20), min_size=1, max_size=3))
    x, features = cloud(counts, grid, 2, seed=draw(st.integers(0, 99)))
    return x, features, kernel, stride, padding, dilation


def agree(ours, theirs, leaves):
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradients(ours, leaves), gradients(theirs, leaves), rtol=1e-10, atol=1e-12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases(odd=True))
def test_submanifold(case):
    x, features, kernel, _, _, dilation = case
    padding = [d * (k // 2) for k, d in zip(kernel, dilation, strict=True)]
    conv = SubmanifoldConv(2, 3, kernel, dilation=dilation).double()
    dense = dense_conv(x.dense(), conv.weight, conv.bias, padding=padding, dilation=dilation)
    agree(conv(x).features, at(dense, x.sites), [features, *conv.parameters()])
    line = SubmanifoldDepthwiseConv(2, kernel, dilation=dilation).double()
    weight = torch.diag_embed(line.weight).movedim(-1, 0)
    dense = dense_conv(x.dense(), weight, padding=padding, dilation=dilation)
    agree(line(x).features, at(dense, x.sites), [features, line.weight])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases())
def test_strided(case):
    x, features, kernel, stride, padding, dilation = case
    conv = SparseConv(2, 3, kernel, stride=stride, padding=padding, dilation=dilation).double()
    y = conv(x)
    dense = dense_conv(x.dense(), conv.weight, conv.bias, stride=stride, padding=padding, dilation=dilation)
    assert y.grid == dense.shape[1:-1]
    agree(y.features, at(dense, y.sites), [features, *conv.parameters()])
    # Elsewhere a dense convolution has its bias alone.
    rest = dense - conv.bias
    elsewhere = torch.ones(rest.shape[:-1], dtype=torch.bool)
    elsewhere[tuple(y.coords.unbind(1))] = False
    assert not rest[elsewhere].abs().gt(1e-12).any()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases())
def test_transposed(case):
    x, features, kernel, stride, padding, dilation = case
    reach = [(n - 1) * s + d * (k - 1) + 1 for n, k, s, d in zip(x.grid, kernel, stride, dilation, strict=True)]
    padding = tuple(min(p, (r - 1) // 2) for p, r in zip(padding, reach, strict=True))
    conv = TransposedConv(2, 3, kernel, stride=stride, padding=padding, dilation=dilation).double()
    y = conv(x)
    weight = conv.weight.movedim(-1, 0)
    dense = TRANSPOSED[len(kernel)](x.dense().movedim(-1, 1), weight, conv.bias, stride, padding, 0, 1, dilation)
    assert y.grid == dense.shape[2:]
    agree(y.features, at(dense.movedim(1, -1), y.sites), [features, *conv.parameters()])
