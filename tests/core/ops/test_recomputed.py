import torch
from torch.nn import functional as F

from core.ops.recomputed import linear_of


def product(a, b):
    return a * torch.tanh(b)


def tensors(*wanted):
    torch.manual_seed(0)
    shapes = {"weight": (3, 4), "bias": (3,), "a": (2, 5, 4), "b": (4,)}
    return {n: torch.randn(s, dtype=torch.float64).requires_grad_(n in wanted) for n, s in shapes.items()}


def compare(leaves, bias=True):
    t = tensors(*leaves)
    bias = t["bias"] if bias else None
    ours = linear_of(product, t["weight"], bias, t["a"], t["b"])
    expected = F.linear(product(t["a"], t["b"]), t["weight"], bias)
    torch.testing.assert_close(ours, expected)
    probe, given = torch.randn_like(ours), [t[name] for name in leaves]
    torch.testing.assert_close(*(torch.autograd.grad((y * probe).sum(), given) for y in (ours, expected)))


def test_value_and_gradients():
    compare(("weight", "bias", "a", "b"))
    compare(("weight", "a"), bias=False)
    compare(("b",))
    compare(("weight",))


def test_keeps_its_inputs_alone():
    t, kept = tensors("weight", "a"), []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        linear_of(product, t["weight"], t["bias"], t["a"], t["b"])
    assert {x.data_ptr() for x in kept} == {t[name].data_ptr() for name in ("weight", "a", "b")}
