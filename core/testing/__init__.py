"""Property tests of token mixers: what a mixer's signature promises, it must keep. For users' own mixers too.

    def test_my_mixer():
        check_mixer(lambda: MyMixer(8, heads=2), dim=8, grids=[(1,), (5,)])

`check_mixer` runs in float64 on small sizes and raises an AssertionError that names the property:

    always      signature; value and gradient = reference; gradcheck; each sample alone = in its batch; strided input;
                copy and pickle; state dict without caches; bfloat16 autocast; variance at the start
    mask        real outputs and gradients do not depend on padding, garbage or NaN; outputs at padding are 0
    context     any other grid, its padding likewise
    Ragged      segments alone = together, in any order, empty ones included
    causal      changing later tokens changes nothing before; the Jacobian is 0 above the diagonal
    step        T steps = one parallel pass; prefill and steps; two halves; states reorder with the batch

Compilation takes longer and is apart: `check_compile`.
"""

__all__ = ["Case", "check_compile", "check_mixer", "find_mixers"]

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, TypeVar, get_args

import torch
from torch import Tensor

from core.layout import Ragged
from core.mixers.base import Mixer
from core.testing import always, order, padding
from core.testing.common import Case, close, fresh


def check_mixer(
    make: Callable[[], Mixer],
    dim: int,
    grids: Sequence[tuple[int, ...]] = ((1,), (2,), (7,)),
    reference: Callable[[Any, Tensor], Tensor] | None = None,
    context_dim: int | None = None,
    isolates_nan: bool = False,
    variance: tuple[float, float] | None = (0.2, 5.0),
    without: Sequence[str] = (),
) -> None:
    """Hold a mixer to everything its signature promises; the arguments are those of `Case`.

    Raises:
        AssertionError: with the name of the property that does not hold.
    """
    case = Case(make, dim, grids, reference, context_dim, isolates_nan, variance, without)
    mixer = fresh(case)
    promised = inspect.signature(mixer.forward).parameters
    checks = [getattr(always, name) for name in always.__all__]
    if "mask" in promised:
        checks += [padding.no_mask] if "mask" in without else [padding.padding, padding.appended_padding]
    if "context" in promised:
        checks += [padding.no_context] if "context" in without else [padding.context]
    if _takes_ragged(promised["x"].annotation):
        checks += [padding.no_ragged] if "ragged" in without else [padding.ragged]
    if mixer.causal:
        checks += [order.prefix, order.jacobian]
        if isolates_nan:
            checks += [order.nan]
        if hasattr(mixer, "step"):
            checks += [order.step, order.extend, order.reorder]
    for check in checks:
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(1)
                check(case)
        except Exception as error:
            name = check.__name__.replace("_", " ")
            raise AssertionError(f"{type(mixer).__name__}: {name}: {error}") from error


def check_compile(case: Case, backend: str = "aot_eager") -> None:
    """One graph, without breaks, that gives the eager values and gradients on every grid of the case.

    Raises:
        AssertionError: where compiling fails or the values differ.
    """
    mixer = fresh(case).float()
    name = type(mixer).__name__
    torch._dynamo.reset()
    for grid in case.grids:
        x = torch.randn(2, *grid, case.dim, requires_grad=True)
        expected = mixer(x)
        theirs = torch.autograd.grad(expected.square().sum(), x)[0]
        try:
            y = torch.compile(mixer, backend=backend, fullgraph=True)(x)
            ours = torch.autograd.grad(y.square().sum(), x)[0]
        except Exception as error:
            raise AssertionError(f"{name}: compile: {error}") from error
        close(y, expected, f"{name}: compiled value on {grid}", rtol=1e-4, atol=1e-5)
        close(ours, theirs, f"{name}: compiled gradient on {grid}", rtol=1e-3, atol=1e-4)


def find_mixers(package: ModuleType) -> list[type[Mixer]]:
    """Every mixer that a module of the package defines, private ones aside."""
    found = []
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            own = isinstance(value, type) and issubclass(value, Mixer) and value.__module__ == info.name
            if own and value is not Mixer and not name.startswith("_"):
                found.append(value)
    return found


def _takes_ragged(annotation: Any) -> bool:
    inside = annotation.__constraints__ if isinstance(annotation, TypeVar) else get_args(annotation)
    return annotation is Ragged or Ragged in inside
