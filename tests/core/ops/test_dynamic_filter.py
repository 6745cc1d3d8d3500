import pytest
import torch

from core.ops import dynamic_filter as module
from core.ops.dynamic_filter import dynamic_filter, dynamic_filter_reference, dynamic_filter_strips

SHAPES = [(1, 1, 1, 4, 2, 3), (2, 5, 3, 6, 3, 5), (1, 4, 9, 4, 1, 7), (2, 3, 2, 3, 3, 1)]


def tensors(batch, height, width, channels, groups, kernel, dtype=torch.float64):
    torch.manual_seed(0)
    x = torch.randn(batch, height, width, channels, dtype=dtype, requires_grad=True)
    weight = torch.randn(batch, height, width, groups, kernel, kernel, dtype=dtype, requires_grad=True)
    return x, weight


@pytest.mark.parametrize("strip", [1, 2**20], ids=["row by row", "at once"])
@pytest.mark.parametrize("shape", SHAPES)
def test_is_the_definition(shape, strip, monkeypatch):
    monkeypatch.setattr(module, "_STRIP", strip)
    x, weight = tensors(*shape)
    ours, theirs = dynamic_filter(x, weight), dynamic_filter_reference(x, weight)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    probe = torch.randn_like(ours)
    for a, b in zip(*(torch.autograd.grad(y, (x, weight), probe) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(dynamic_filter_strips(x, lambda a, b: weight[:, a:b], shape[-1]), theirs)


def test_gradients():
    torch.autograd.gradcheck(dynamic_filter, tensors(2, 3, 4, 4, 2, 3))
    x, weight = tensors(1, 3, 2, 4, 2, 3)
    torch.autograd.gradcheck(lambda x: dynamic_filter(x, weight.detach()), x)
    torch.autograd.gradcheck(lambda weight: dynamic_filter(x.detach(), weight), weight)


def test_gradients_that_arrive_in_another_memory_order():
    x, weight = tensors(2, 3, 4, 4, 2, 3)
    probe = torch.randn(4, 4, 3, 2, dtype=torch.float64).permute(3, 2, 1, 0)
    ours = torch.autograd.grad(dynamic_filter(x, weight), (x, weight), probe)
    theirs = torch.autograd.grad(dynamic_filter_reference(x, weight), (x, weight), probe)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_nothing_as_large_as_the_unfolded_map_is_kept():
    x, weight = tensors(1, 16, 16, 8, 2, 5, torch.float32)
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        dynamic_filter(x, weight)
    assert sum(sizes) <= x.numel() + weight.numel()


def test_half_precision_adds_in_single():
    x, weight = tensors(1, 6, 6, 4, 2, 7, torch.bfloat16)
    wide = dynamic_filter(x.double(), weight.double())
    assert dynamic_filter(x, weight).dtype == torch.bfloat16
    assert ((dynamic_filter(x, weight) - wide).norm() / wide.norm()).item() < 4e-3


@pytest.mark.parametrize("weight", [(1, 3, 3, 3, 3, 3), (1, 3, 3, 2, 4, 4), (1, 3, 4, 2, 3, 3), (1, 3, 3, 2, 3)])
def test_what_cannot_be_is_said(weight):
    with pytest.raises(ValueError, match="odd k and G dividing C"):
        dynamic_filter(torch.zeros(1, 3, 3, 4), torch.zeros(weight))
