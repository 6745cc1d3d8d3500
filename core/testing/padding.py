"""Properties of mixers that take a mask, a context or ragged sets: nothing depends on what is padding."""

__all__ = ["appended_padding", "context", "no_context", "no_mask", "no_ragged", "padding", "ragged"]

from collections.abc import Callable
from typing import Any

import torch

from core.layout import Ragged
from core.testing.common import Case, close, fresh, gradients_of, tokens


def padding(case: Case) -> None:
    mixer = fresh(case)
    for grid in case.grids:
        x = tokens(case, 3, grid)
        mask = torch.rand(3, *grid) > 0.4
        mask[0], mask[1] = True, False
        y = mixer(x, mask=mask)
        assert y.isfinite().all(), f"a sample of padding alone on {grid} is not finite"
        assert not y[~mask].any(), f"outputs at padding on {grid} are not 0"
        probe = torch.randn_like(y)
        expected = gradients_of(y, probe, [x, *mixer.parameters()])
        assert not expected[0][~mask].any(), f"padding on {grid} gets a gradient"
        for garbage in (1e4, torch.nan):
            other = torch.where(mask[..., None], x, torch.full_like(x, garbage)).detach().requires_grad_()
            z = mixer(other, mask=mask)
            close(z, y, f"padding of {garbage} on {grid} changes the output")
            close(
                gradients_of(z, probe, [other, *mixer.parameters()]),
                expected,
                f"padding of {garbage} changes gradients",
            )


def appended_padding(case: Case) -> None:
    mixer = fresh(case)
    for grid in case.grids:
        x = tokens(case, 2, grid)
        wide = torch.randn(2, *(n + 2 for n in grid), case.dim, dtype=x.dtype) * 1e3
        inside = (slice(None), *(slice(0, n) for n in grid))
        wide[inside] = x.detach()
        mask = torch.zeros(wide.shape[:-1], dtype=torch.bool)
        mask[inside] = True
        y, z = mixer(x), mixer(wide, mask=mask)[inside]
        close(z, y, f"padding appended to {grid} changes the output")
        probe, weights = torch.randn_like(y), list(mixer.parameters())
        close(
            gradients_of(z, probe, weights),
            gradients_of(y, probe, weights),
            f"padding appended to {grid} changes gradients",
        )


def context(case: Case) -> None:
    mixer = fresh(case)
    width = case.context_dim or case.dim
    for grid in case.grids:
        for other in ((1,) * len(grid), tuple(n + 2 for n in grid)):
            x = tokens(case, 3, grid)
            context = torch.randn(3, *other, width, dtype=x.dtype, requires_grad=True)
            y = mixer(x, context=context)
            assert y.shape[:-1] == x.shape[:-1], f"output {tuple(y.shape)} with a context on {other}"
            alone = [mixer(a[None], context=b[None]) for a, b in zip(x, context, strict=True)]
            close(torch.cat(alone), y, f"samples alone with a context on {other}")
            close(mixer(x, context=context, context_mask=torch.ones(3, *other).bool()), y, "a full context mask")
            mask, real = torch.rand(3, *grid) > 0.3, torch.rand(3, *other) > 0.3
            real[0] = False
            y = mixer(x, mask=mask, context=context, context_mask=real)
            assert y.isfinite().all() and not y[~mask].any(), "a masked context is not finite or fills padding"
            garbage = context.detach().masked_fill(~real[..., None], torch.nan)
            z = mixer(x, mask=mask, context=garbage, context_mask=real)
            close(z, y, f"padding of a context on {other} changes the output")


def ragged(case: Case) -> None:
    mixer = fresh(case)
    rank = len(case.grids[-1])
    lengths = [3, 0, 1, 8, 5]
    segments = [torch.randn(n, case.dim, dtype=torch.float64, requires_grad=True) for n in lengths]
    coords = [torch.randint(0, 6, (n, rank)).double() for n in lengths]
    whole = mixer(Ragged.of(segments, coords))
    parts = [mixer(Ragged.of([s], [c])).tokens for s, c in zip(segments, coords, strict=True)]
    close(whole.tokens, torch.cat(parts), "segments alone")
    probe, leaves = torch.randn_like(whole.tokens), [s for s in segments if len(s)] + list(mixer.parameters())
    close(
        gradients_of(whole.tokens, probe, leaves),
        gradients_of(torch.cat(parts), probe, leaves),
        "gradients of segments alone",
    )
    order = [4, 1, 0, 3, 2]
    moved = mixer(Ragged.of([segments[i] for i in order], [coords[i] for i in order]))
    close(moved.tokens, torch.cat([parts[i] for i in order]), "segments in another order")
    assert not mixer(Ragged.of([segments[1]], [coords[1]])).tokens.numel(), "an empty set gives tokens"


def no_mask(case: Case) -> None:
    x = tokens(case, 2, case.grids[-1])
    _refuses(lambda: fresh(case)(x, mask=torch.ones(x.shape[:-1], dtype=torch.bool)), "mask")


def no_context(case: Case) -> None:
    x = tokens(case, 2, case.grids[-1])
    context = torch.randn(2, *(n + 1 for n in case.grids[-1]), case.context_dim or case.dim, dtype=x.dtype)
    _refuses(lambda: fresh(case)(x, context=context), "context")


def no_ragged(case: Case) -> None:
    places = torch.zeros(2, len(case.grids[-1]), dtype=torch.float64)
    x = Ragged.of([torch.zeros(2, case.dim, dtype=torch.float64)], [places])
    _refuses(lambda: fresh(case)(x), "ragged")


def _refuses(call: Callable[[], Any], what: str) -> None:
    try:
        call()
    except ValueError:
        return
    raise AssertionError(f"{what} is ruled out but raises no ValueError")
