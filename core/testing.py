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

import copy
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Callable, Sequence
from math import prod
from types import ModuleType
from typing import Any, NamedTuple, TypeVar, get_args

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from core.layout import Ragged
from core.mixers.base import Mixer

_EXACT: dict[str, float] = {"rtol": 1e-8, "atol": 1e-10}


class Case(NamedTuple):
    """A mixer and what it is tested with.

    Attributes:
        make: builds the mixer, fresh weights each call.
        dim: width of its tokens.
        grids: the maps it is run on; with sizes 1 and odd where it takes any size.
        reference: `reference(mixer, x)`, the definition on x (B, *grid, dim), or None.
        context_dim: width of its context; dim by default.
        isolates_nan: a NaN at t leaves everything before t alone: scans, convolutions, cumulative sums.
        variance: bounds of the output's standard deviation for unit normal input, or None where it says nothing.
        without: of "mask", "context" and "ragged" what the constructor's arguments rule out although the class takes
            it; giving it must then raise a ValueError.
    """

    make: Callable[[], Mixer]
    dim: int
    grids: Sequence[tuple[int, ...]] = ((1,), (2,), (7,))
    reference: Callable[[Any, Tensor], Tensor] | None = None
    context_dim: int | None = None
    isolates_nan: bool = False
    variance: tuple[float, float] | None = (0.2, 5.0)
    without: Sequence[str] = ()


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
    mixer = _fresh(case)
    promised = inspect.signature(mixer.forward).parameters
    checks = [_signature, _reference, _gradients, _batch, _strided, _copies, _caches, _autocast, _variance]
    if "mask" in promised:
        checks += [_no_mask] if "mask" in without else [_padding, _appended_padding]
    if "context" in promised:
        checks += [_no_context] if "context" in without else [_context]
    if _takes_ragged(promised["x"].annotation):
        checks += [_no_ragged] if "ragged" in without else [_ragged]
    if mixer.causal:
        checks += [_prefix, _jacobian]
        if isolates_nan:
            checks += [_nan]
        if hasattr(mixer, "step"):
            checks += [_step, _extend, _reorder]
    for check in checks:
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(1)
                check(case)
        except Exception as error:
            name = check.__name__.strip("_").replace("_", " ")
            raise AssertionError(f"{type(mixer).__name__}: {name}: {error}") from error


def check_compile(case: Case, backend: str = "aot_eager") -> None:
    """One graph, without breaks, that gives the eager values and gradients on every grid of the case.

    Raises:
        AssertionError: where compiling fails or the values differ.
    """
    mixer = _fresh(case).float()
    name = type(mixer).__name__
    torch._dynamo.reset()
    for grid in case.grids:
        x = torch.randn(2, *grid, case.dim, requires_grad=True)
        try:
            y = torch.compile(mixer, backend=backend, fullgraph=True)(x)
        except Exception as error:
            raise AssertionError(f"{name}: compile: {error}") from error
        expected = mixer(x)
        _close(y, expected, f"{name}: compiled value on {grid}", rtol=1e-4, atol=1e-5)
        gradients = [torch.autograd.grad(out.square().sum(), x)[0] for out in (y, expected)]
        _close(*gradients, f"{name}: compiled gradient on {grid}", rtol=1e-3, atol=1e-4)


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


def _signature(case: Case) -> None:
    mixer = _fresh(case)
    assert isinstance(mixer, Mixer), "it is no subclass of core.mixers.Mixer"
    parameters = inspect.signature(mixer.forward).parameters
    assert next(iter(parameters)) == "x", "the first argument of forward is x"
    for name, parameter in list(parameters.items())[1:]:
        assert name in ("mask", "context", "context_mask"), f"forward takes {name}, which no block passes on"
        assert parameter.kind is parameter.KEYWORD_ONLY and parameter.default is None, f"{name} is keyword-only, None"
    assert ("context" in parameters) == ("context_mask" in parameters), "context comes with context_mask"


def _reference(case: Case) -> None:
    mixer = _fresh(case)
    for grid in case.grids:
        x = _tokens(case, 2, grid)
        y = mixer(x)
        assert y.shape == x.shape[:-1] + y.shape[-1:], f"output {tuple(y.shape)} for input {tuple(x.shape)}"
        assert y.isfinite().all(), f"output on {grid} is not finite"
        if case.reference is None:
            continue
        expected = case.reference(mixer, x)
        _close(y, expected, f"value on {grid}")
        probe = torch.randn_like(expected)
        leaves = [x, *mixer.parameters()]
        _close(_grads(y, probe, leaves), _grads(expected, probe, leaves), f"gradient on {grid}")
        single = copy.deepcopy(mixer).float()
        _close(single(x.float()).double(), expected, f"float32 on {grid}", rtol=1e-4, atol=1e-5)


def _gradients(case: Case) -> None:
    mixer = _fresh(case)
    x = _tokens(case, 1, min(case.grids, key=lambda g: abs(prod(g) - 4)))
    names = [name for name, _ in mixer.named_parameters()]

    def run(x: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(mixer, dict(zip(names, weights, strict=True)), x)

    torch.autograd.gradcheck(run, (x, *mixer.parameters()), fast_mode=True)


def _batch(case: Case) -> None:
    mixer = _fresh(case)
    for grid in case.grids:
        x = _tokens(case, 3, grid)
        _close(torch.cat([mixer(row[None]) for row in x]), mixer(x), f"samples alone on {grid}")


def _strided(case: Case) -> None:
    mixer = _fresh(case)
    x = _tokens(case, 2, case.grids[-1]).detach()
    for axes in ((0, 1), (1, x.ndim - 1)):
        strided = x.transpose(*axes).contiguous().transpose(*axes)
        _close(mixer(strided), mixer(x), "non-contiguous input")


def _copies(case: Case) -> None:
    mixer = _fresh(case)
    x = _tokens(case, 2, case.grids[-1])
    y = mixer(x)
    _close(copy.deepcopy(mixer)(x), y, "deep copy")
    if "<lambda>" not in repr(list(vars(mixer).values())):
        _close(pickle.loads(pickle.dumps(mixer))(x), y, "pickle")
    _close(mixer(x), y, "second run")
    other = _fresh(case)
    other.load_state_dict(mixer.state_dict())
    _close(other(x), y, "state dict")


def _caches(case: Case) -> None:
    mixer = _fresh(case)
    before = {name: value.shape for name, value in mixer.state_dict().items()}
    for training in (False, True):
        mixer.train(training)
        for grid in case.grids:
            mixer(_tokens(case, 1, grid))
    assert {name: value.shape for name, value in mixer.state_dict().items()} == before, "running changed the state dict"
    # Averaging of weights averages integer buffers too and so destroys tables of indices.
    tables = [
        n for n, b in mixer.named_buffers() if not b.is_floating_point() and not n.endswith("num_batches_tracked")
    ]
    assert not tables, f"integer buffers {tables}: keep indices with a plan or in a plain attribute"


def _autocast(case: Case) -> None:
    mixer = _fresh(case).float()
    x = torch.randn(2, *case.grids[-1], case.dim)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = mixer(x).float()
    expected = mixer(x)
    assert y.isfinite().all(), "not finite in bfloat16"
    error = ((y - expected).norm() / expected.norm().clamp(min=1e-6)).item()
    assert error < 2e-2, f"relative error {error:.3f} in bfloat16"


def _variance(case: Case) -> None:
    if case.variance is None:
        return
    low, high = case.variance
    grid = max(case.grids, key=prod)
    deviation = _fresh(case)(torch.randn(16, *grid, case.dim, dtype=torch.float64)).std().item()
    assert low <= deviation <= high, f"output deviates by {deviation:.3f} for unit normal input on {grid}"


def _padding(case: Case) -> None:
    mixer = _fresh(case)
    for grid in case.grids:
        x = _tokens(case, 3, grid)
        mask = torch.rand(3, *grid) > 0.4
        mask[0], mask[1] = True, False
        y = mixer(x, mask=mask)
        assert y.isfinite().all(), f"a sample of padding alone on {grid} is not finite"
        assert not y[~mask].any(), f"outputs at padding on {grid} are not 0"
        probe = torch.randn_like(y)
        expected = _grads(y, probe, [x, *mixer.parameters()])
        assert not expected[0][~mask].any(), f"padding on {grid} gets a gradient"
        for garbage in (1e4, torch.nan):
            other = torch.where(mask[..., None], x, torch.full_like(x, garbage)).detach().requires_grad_()
            z = mixer(other, mask=mask)
            _close(z, y, f"padding of {garbage} on {grid} changes the output:")
            _close(_grads(z, probe, [other, *mixer.parameters()]), expected, f"padding of {garbage} changes gradients:")


def _appended_padding(case: Case) -> None:
    mixer = _fresh(case)
    for grid in case.grids:
        x = _tokens(case, 2, grid)
        wide = torch.randn(2, *(n + 2 for n in grid), case.dim, dtype=x.dtype) * 1e3
        inside = (slice(None), *(slice(0, n) for n in grid))
        wide[inside] = x.detach()
        mask = torch.zeros(wide.shape[:-1], dtype=torch.bool)
        mask[inside] = True
        y, z = mixer(x), mixer(wide, mask=mask)[inside]
        _close(z, y, f"padding appended to {grid} changes the output:")
        probe, weights = torch.randn_like(y), list(mixer.parameters())
        _close(_grads(z, probe, weights), _grads(y, probe, weights), f"padding appended to {grid} changes gradients:")


def _context(case: Case) -> None:
    mixer = _fresh(case)
    width = case.context_dim or case.dim
    for grid in case.grids:
        for other in ((1,) * len(grid), tuple(n + 2 for n in grid)):
            x = _tokens(case, 3, grid)
            context = torch.randn(3, *other, width, dtype=x.dtype, requires_grad=True)
            y = mixer(x, context=context)
            assert y.shape[:-1] == x.shape[:-1], f"output {tuple(y.shape)} with a context on {other}"
            alone = [mixer(a[None], context=b[None]) for a, b in zip(x, context, strict=True)]
            _close(torch.cat(alone), y, f"samples alone with a context on {other}")
            _close(mixer(x, context=context, context_mask=torch.ones(3, *other).bool()), y, "a full context mask")
            mask, real = torch.rand(3, *grid) > 0.3, torch.rand(3, *other) > 0.3
            real[0] = False
            y = mixer(x, mask=mask, context=context, context_mask=real)
            assert y.isfinite().all() and not y[~mask].any(), "a masked context is not finite or fills padding"
            garbage = context.detach().masked_fill(~real[..., None], torch.nan)
            z = mixer(x, mask=mask, context=garbage, context_mask=real)
            _close(z, y, f"padding of a context on {other} changes the output:")


def _ragged(case: Case) -> None:
    mixer = _fresh(case)
    rank = len(case.grids[-1])
    lengths = [3, 0, 1, 8, 5]
    segments = [torch.randn(n, case.dim, dtype=torch.float64, requires_grad=True) for n in lengths]
    coords = [torch.randint(0, 6, (n, rank)).double() for n in lengths]
    whole = mixer(Ragged.of(segments, coords))
    parts = [mixer(Ragged.of([s], [c])).tokens for s, c in zip(segments, coords, strict=True)]
    _close(whole.tokens, torch.cat(parts), "segments alone")
    probe, leaves = torch.randn_like(whole.tokens), [s for s in segments if len(s)] + list(mixer.parameters())
    _close(_grads(whole.tokens, probe, leaves), _grads(torch.cat(parts), probe, leaves), "gradients of segments alone")
    order = [4, 1, 0, 3, 2]
    moved = mixer(Ragged.of([segments[i] for i in order], [coords[i] for i in order]))
    _close(moved.tokens, torch.cat([parts[i] for i in order]), "segments in another order")
    assert not mixer(Ragged.of([segments[1]], [coords[1]])).tokens.numel(), "an empty set gives tokens"


def _no_mask(case: Case) -> None:
    x = _tokens(case, 2, case.grids[-1])
    _refuses(lambda: _fresh(case)(x, mask=torch.ones(x.shape[:-1], dtype=torch.bool)), "mask")


def _no_context(case: Case) -> None:
    x = _tokens(case, 2, case.grids[-1])
    context = torch.randn(2, *(n + 1 for n in case.grids[-1]), case.context_dim or case.dim, dtype=x.dtype)
    _refuses(lambda: _fresh(case)(x, context=context), "context")


def _no_ragged(case: Case) -> None:
    places = torch.zeros(2, len(case.grids[-1]), dtype=torch.float64)
    x = Ragged.of([torch.zeros(2, case.dim, dtype=torch.float64)], [places])
    _refuses(lambda: _fresh(case)(x), "ragged")


def _refuses(call: Callable[[], Any], what: str) -> None:
    try:
        call()
    except ValueError:
        return
    raise AssertionError(f"{what} is ruled out but raises no ValueError")


def _prefix(case: Case) -> None:
    mixer = _fresh(case)
    for grid in case.grids:
        x = _tokens(case, 2, grid).detach()
        y = mixer(x).flatten(1, -2)
        for t in sorted({0, prod(grid) // 2, prod(grid) - 1}):
            changed = x.flatten(1, -2).clone()
            changed[:, t:] = 1e4 * torch.randn_like(changed[:, t:])
            z = mixer(changed.view_as(x)).flatten(1, -2)
            _close(z[:, :t], y[:, :t], f"tokens from {t} on of {grid} change earlier outputs:")


def _jacobian(case: Case) -> None:
    mixer = _fresh(case)
    x = _tokens(case, 1, case.grids[-1])
    rows = mixer(x)[0].flatten(0, -2)
    for t, row in enumerate(rows):
        gradient = torch.autograd.grad(row.sum(), x, retain_graph=True)[0][0].flatten(0, -2)
        assert not gradient[t + 1 :].any(), f"output {t} has a gradient in later tokens"


def _nan(case: Case) -> None:
    mixer = _fresh(case)
    for grid in case.grids:
        for t in range(prod(grid)):
            x = _tokens(case, 1, grid).detach().flatten(1, -2)
            x[:, t] = torch.nan
            y = mixer(x.view(1, *grid, case.dim)).flatten(1, -2)
            assert y[:, :t].isfinite().all(), f"NaN at {t} of {grid} reaches earlier outputs"


def _step(case: Case) -> None:
    mixer: Any = _fresh(case)
    for x in _sequences(case):
        state, outputs = mixer.initial_state(len(x), x.device, x.dtype), []
        assert isinstance(state, tuple) and all(isinstance(s, Tensor) for s in state), "a state is a tuple of tensors"
        for x_t in x.unbind(1):
            y_t, state = mixer.step(x_t, state)
            outputs.append(y_t)
        _close(torch.stack(outputs, 1), mixer(x), f"{x.shape[1]} steps against one pass")


def _extend(case: Case) -> None:
    mixer: Any = _fresh(case)
    for x in _sequences(case):
        half = (x.shape[1] + 1) // 2
        expected = mixer(x)
        first, state = mixer.extend(x[:, :half], mixer.initial_state(len(x), x.device, x.dtype))
        _close(first, expected[:, :half], "prefill against one pass")
        kept = pytree.tree_map(torch.clone, state)
        if half < x.shape[1]:
            _close(mixer.extend(x[:, half:], state)[0], expected[:, half:], "second half from the first one's state")
        for t in range(half, x.shape[1]):
            y_t, kept = mixer.step(x[:, t], kept)
            _close(y_t, expected[:, t], "steps after a prefill")


def _reorder(case: Case) -> None:
    mixer: Any = _fresh(case)
    x = torch.randn(3, case.dim, dtype=torch.float64)
    _, state = mixer.step(x, mixer.initial_state(3, x.device, x.dtype))
    order = torch.tensor([2, 0, 0])
    moved = pytree.tree_map(lambda s: s[order].clone(), state)
    x = torch.randn_like(x)
    _close(mixer.step(x[order], moved)[0], mixer.step(x, state)[0][order], "state reordered with its batch")


def _fresh(case: Case) -> Mixer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return case.make().double().eval()


def _tokens(case: Case, batch: int, grid: tuple[int, ...]) -> Tensor:
    return torch.randn(batch, *grid, case.dim, dtype=torch.float64, requires_grad=True)


def _sequences(case: Case) -> list[Tensor]:
    return [_tokens(case, 2, grid).detach() for grid in case.grids if len(grid) == 1]


def _takes_ragged(annotation: Any) -> bool:
    inside = annotation.__constraints__ if isinstance(annotation, TypeVar) else get_args(annotation)
    return annotation is Ragged or Ragged in inside


def _grads(y: Tensor, probe: Tensor, leaves: list) -> list[Tensor]:
    if not leaves:
        return []
    if not y.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    return torch.autograd.grad((y * probe).sum(), leaves, retain_graph=True, allow_unused=True, materialize_grads=True)  # type: ignore[return-value]


def _close(ours: Any, theirs: Any, what: str, **tolerance: float) -> None:
    with torch.no_grad():
        torch.testing.assert_close(
            ours, theirs, **(tolerance or _EXACT), msg=lambda reason: f"{what} {reason.splitlines()[-3].strip()}"
        )
