"""Properties of every mixer."""

__all__ = ["autocast", "batch", "caches", "copies", "gradients", "reference", "signature", "strided", "variance"]

import copy
import inspect
import pickle
from math import prod

import torch
from torch import Tensor

from core.mixers.base import Mixer
from core.testing.common import Case, close, fresh, gradients_of, tokens


def signature(case: Case) -> None:
    mixer = fresh(case)
    assert isinstance(mixer, Mixer), "it is no subclass of core.mixers.Mixer"
    parameters = inspect.signature(mixer.forward).parameters
    assert next(iter(parameters)) == "x", "the first argument of forward is x"
    for name, parameter in list(parameters.items())[1:]:
        assert name in ("mask", "context", "context_mask"), f"forward takes {name}, which no block passes on"
        assert parameter.kind is parameter.KEYWORD_ONLY and parameter.default is None, f"{name} is keyword-only, None"
    assert ("context" in parameters) == ("context_mask" in parameters), "context comes with context_mask"


def reference(case: Case) -> None:
    mixer = fresh(case)
    for grid in case.grids:
        x = tokens(case, 2, grid)
        y = mixer(x)
        assert y.shape == x.shape[:-1] + y.shape[-1:], f"output {tuple(y.shape)} for input {tuple(x.shape)}"
        assert y.isfinite().all(), f"output on {grid} is not finite"
        if case.reference is None:
            continue
        expected = case.reference(mixer, x)
        close(y, expected, f"value on {grid}")
        probe = torch.randn_like(expected)
        leaves = [x, *mixer.parameters()]
        close(gradients_of(y, probe, leaves), gradients_of(expected, probe, leaves), f"gradient on {grid}")
        single = copy.deepcopy(mixer).float()
        error = ((single(x.float()).double() - expected).norm() / _size(expected, x)).item()
        assert error < 1e-5, f"relative error {error:.1e} in float32 on {grid}"


def gradients(case: Case) -> None:
    mixer = fresh(case)
    x = tokens(case, 1, min(case.grids, key=lambda g: abs(prod(g) - 4)))
    names = [name for name, _ in mixer.named_parameters()]

    def run(x: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(mixer, dict(zip(names, weights, strict=True)), x)

    torch.autograd.gradcheck(run, (x, *mixer.parameters()), fast_mode=True)


def batch(case: Case) -> None:
    mixer = fresh(case)
    for grid in case.grids:
        x = tokens(case, 3, grid)
        close(torch.cat([mixer(row[None]) for row in x]), mixer(x), f"samples alone on {grid}")


def strided(case: Case) -> None:
    mixer = fresh(case)
    x = tokens(case, 2, case.grids[-1]).detach()
    for axes in ((0, 1), (1, x.ndim - 1)):
        strided = x.transpose(*axes).contiguous().transpose(*axes)
        close(mixer(strided), mixer(x), "non-contiguous input")


def copies(case: Case) -> None:
    mixer = fresh(case)
    x = tokens(case, 2, case.grids[-1])
    y = mixer(x)
    close(copy.deepcopy(mixer)(x), y, "deep copy")
    close(pickle.loads(pickle.dumps(mixer))(x), y, "pickle")
    close(mixer(x), y, "second run")
    other = fresh(case)
    other.load_state_dict(mixer.state_dict())
    close(other(x), y, "state dict")


def caches(case: Case) -> None:
    mixer = fresh(case)
    before = {name: value.shape for name, value in mixer.state_dict().items()}
    for training in (False, True):
        mixer.train(training)
        for grid in case.grids:
            mixer(tokens(case, 1, grid))
    assert {name: value.shape for name, value in mixer.state_dict().items()} == before, "running changed the state dict"
    # Averaging of weights averages integer buffers too and so destroys tables of indices.
    tables = [
        n for n, b in mixer.named_buffers() if not b.is_floating_point() and not n.endswith("num_batches_tracked")
    ]
    assert not tables, f"integer buffers {tables}: keep indices with a plan or in a plain attribute"


def autocast(case: Case) -> None:
    mixer = fresh(case).float()
    x = torch.randn(2, *case.grids[-1], case.dim)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = mixer(x).float()
    expected = mixer(x)
    assert y.isfinite().all(), "not finite in bfloat16"
    error = ((y - expected).norm() / _size(expected, x)).item()
    assert error < 2e-2, f"relative error {error:.3f} in bfloat16"


def variance(case: Case) -> None:
    if case.variance is None:
        return
    low, high = case.variance
    grid = max(case.grids, key=prod)
    deviation = fresh(case)(torch.randn(16, *grid, case.dim, dtype=torch.float64)).std().item()
    assert low <= deviation <= high, f"output deviates by {deviation:.3f} for unit normal input on {grid}"


def _size(expected: Tensor, x: Tensor) -> Tensor:
    """What an error is measured against: the output, or a share of the input where it cancels to almost nothing."""
    return torch.maximum(expected.norm(), 0.01 * x.norm())
