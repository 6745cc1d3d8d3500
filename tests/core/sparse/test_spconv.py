"""spconv behind the same modules and weights, its converters, and what its CPU kernels get wrong."""

import os

import pytest
import torch
from torch import nn

from core.errors import UserError
from core.sparse import (
    InverseConv,
    SparseConv,
    SparseMaxPool,
    SubmanifoldConv,
    SubmanifoldDepthwiseConv,
    TransposedConv,
)
from core.testing.sparse import at, cloud, dense_conv

sp = pytest.importorskip("spconv.pytorch")
from core.sparse.spconv import (  # noqa: E402
    accelerate,
    from_spconv,
    module_from_spconv,
    module_to_spconv,
    run,
    to_spconv,
)

GRID = (6, 7, 8)
CONVS = {
    "submanifold": lambda: SubmanifoldConv(4, 5, 3, bias=False),
    "line": lambda: SubmanifoldConv(4, 5, (1, 1, 13), bias=True),
    "strided": lambda: SparseConv(4, 5, 3, stride=2, padding=1),
    "height": lambda: SparseConv(4, 5, (3, 1, 1), stride=(2, 1, 1), bias=False),
    "full": lambda: SparseConv(4, 5, 3, padding=1),
    "transposed": lambda: TransposedConv(4, 5, 3, stride=2, padding=1, output_padding=1),
}


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.fixture
def one_thread():
    """More than one is what its CPU kernels do not stand."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def x():
    return cloud([40, 0, 25], GRID, 4, dtype=torch.float32)[0]


def test_tensors_there_and_back(x):
    there = to_spconv(x)
    assert there.indices.dtype == torch.int32 and there.spatial_shape == list(GRID) and there.batch_size == 3
    close(there.dense(channels_first=False), x.dense())
    turn = torch.randperm(len(x.coords))
    shuffled = sp.SparseConvTensor(x.features[turn], there.indices[turn], list(GRID), 3)
    back = from_spconv(shuffled)
    assert torch.equal(back.coords, x.coords) and torch.equal(back.features, x.features)
    assert torch.equal(back.sites.restore(back.features), shuffled.features)


@pytest.mark.parametrize("name", CONVS)
@torch.no_grad()
def test_its_kernels_with_our_weights(x, name, one_thread):
    conv = CONVS[name]()
    for _ in range(2):
        ours, theirs = conv(x), run(conv, x)
        assert theirs.grid == ours.grid and torch.equal(theirs.coords, ours.coords)
        close(theirs.features, ours.features)
    # The next layer finds the pairs it needs.
    following = SubmanifoldConv(5, 4)
    close(run(following, theirs).features, following(ours).features)


@torch.no_grad()
def test_the_way_back(x, one_thread):
    forth, back = SparseConv(4, 5, 3, stride=2, padding=1), InverseConv(5, 3, 3, stride=2, padding=1)
    y = forth(x)
    ours, theirs = back(y, x), run(back, run(forth, x), x)
    assert theirs.sites is x.sites
    close(theirs.features, ours.features)


@pytest.mark.parametrize("name", CONVS)
@torch.no_grad()
def test_modules_there_and_back(x, name, one_thread):
    conv = CONVS[name]()
    # Its CPU kernels refuse biases outside of training.
    module = module_to_spconv(conv).train()
    close(from_spconv(module(to_spconv(x))).features, conv(x).features)
    again = module_from_spconv(module)
    assert type(again) is type(conv)
    close(again(x).features, conv(x).features)


def test_modules_of_spconv_itself(x, one_thread):
    module = sp.SparseConv3d(4, 5, 3, stride=2, padding=1, bias=False)
    with torch.no_grad():
        close(module_from_spconv(module)(x).features, from_spconv(module(to_spconv(x))).features)
    with pytest.raises(ValueError, match="indice_key"):
        module_to_spconv(InverseConv(4, 4))
    with pytest.raises(ValueError, match="not a convolution of spconv"):
        module_from_spconv(nn.Linear(1, 1))


def test_accelerating_needs_cuda():
    network = nn.Sequential(SubmanifoldConv(4, 4), nn.Sequential(SparseConv(4, 4)), SubmanifoldDepthwiseConv(4))
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"CPU kernels are not reliable"):
            accelerate(network)
    assert accelerate(network, on=False) == 2
    assert not any(getattr(m, "accelerated", False) for m in network.modules())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="spconv is used on CUDA alone")
@pytest.mark.parametrize("name", CONVS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_on_cuda_forward_and_backward(name, dtype):
    x, _ = cloud([300, 0, 200], (12, 14, 16), 16, dtype=torch.float32)
    conv = {
        "submanifold": SubmanifoldConv(16, 32, bias=False),
        "line": SubmanifoldConv(16, 32, (1, 1, 13)),
        "strided": SparseConv(16, 32, 3, stride=2, padding=1),
        "height": SparseConv(16, 32, (3, 1, 1), stride=(2, 1, 1), bias=False),
        "full": SparseConv(16, 32, 3, padding=1),
        "transposed": TransposedConv(16, 32, 3, stride=2, padding=1),
    }[name].cuda()
    x = type(x).of(x.features.detach().cuda(), x.coords.cuda(), x.grid, x.batch_size)
    results = []
    for on in (False, True):
        accelerate(conv, on)
        features = x.features.clone().requires_grad_()
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            y = conv(x.replace(features))
        assert y.features.dtype == dtype
        probe = torch.randn(y.features.shape, generator=torch.Generator().manual_seed(1)).cuda()
        gradients = torch.autograd.grad((y.features.float() * probe).sum(), [features, *conv.parameters()])
        results.append((y.coords, y.features.float(), *gradients))
    assert torch.equal(results[0][0], results[1][0])
    for ours, theirs in zip(results[0][1:], results[1][1:], strict=True):
        # TensorFloat-32 there.
        assert (ours - theirs).norm() < (1e-2 if dtype != torch.bfloat16 else 3e-2) * ours.norm()


@torch.no_grad()
def test_its_maximum_of_negative_features_is_zero():
    """On a CPU; ours is right (see the tests of pooling)."""
    x, _ = cloud([30], (4, 4, 4), 2, dtype=torch.float32)
    x = x.replace(-1 - x.features.abs())
    theirs = sp.SparseMaxPool3d(2, 2)(to_spconv(x)).features
    assert bool((theirs == 0).all())
    assert bool((SparseMaxPool(2)(x).features <= -1).all())


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="a race needs two processors")
@torch.no_grad()
def test_its_sums_race_on_two_threads_and_ours_do_not():
    """A third of its calls are wrong; how soon one is depends on what else the machine does."""
    x, _ = cloud([1500], (12, 24, 24), 16, dtype=torch.float32)
    conv = SubmanifoldConv(16, 16, bias=False)
    exact = at(dense_conv(x.dense().double(), conv.weight.double(), padding=1), x.sites)

    def error(y):
        return ((y - exact).norm() / exact.norm()).item()

    module, given = module_to_spconv(conv), to_spconv(x)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert error(module(given).features) < 1e-5
        torch.set_num_threads(2)
        assert max(error(conv(x).features) for _ in range(10)) < 1e-5
        wrong = any(error(module(given).features) > 1e-4 for _ in range(400))
    finally:
        torch.set_num_threads(before)
    if not wrong:
        pytest.skip("spconv's race did not show in 400 calls on this machine")
