"""A case, and what every property test uses."""

__all__ = ["Case", "close", "fresh", "gradients_of", "sequences", "tokens"]

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.mixers.base import Mixer


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


def fresh(case: Case) -> Mixer:
    """The mixer with the same weights each time, in float64 and eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return case.make().double().eval()


def tokens(case: Case, batch: int, grid: tuple[int, ...]) -> Tensor:
    """Unit normal tokens that want a gradient."""
    return torch.randn(batch, *grid, case.dim, dtype=torch.float64, requires_grad=True)


def sequences(case: Case) -> list[Tensor]:
    """Tokens for each of the case's grids of rank 1."""
    return [tokens(case, 2, grid).detach() for grid in case.grids if len(grid) == 1]


def gradients_of(y: Tensor, probe: Tensor, leaves: list) -> list[Tensor]:
    """Gradients of <y, probe> in the leaves, 0 where y does not depend on one."""
    if not leaves:
        return []
    if not y.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    loss = (y * probe).sum()
    return list(torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True, materialize_grads=True))


def close(ours: Any, theirs: Any, what: str, *, rtol: float = 1e-8, atol: float = 1e-10) -> None:
    """Equal up to rounding in float64, or to the tolerance given; lists of tensors one by one."""
    for a, b in zip(*((t if isinstance(t, list) else [t]) for t in (ours, theirs)), strict=True):
        assert a.shape == b.shape, f"{what}: shape {tuple(a.shape)}, expected {tuple(b.shape)}"
        if not torch.allclose(a, b, rtol=rtol, atol=atol):
            raise AssertionError(f"{what}: differs by {(a - b).abs().max().item():.3g}")
