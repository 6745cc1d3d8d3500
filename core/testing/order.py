"""Properties of causal mixers and of recurrent forms."""

__all__ = ["extend", "jacobian", "nan", "prefix", "reorder", "step"]

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from core.testing.common import Case, close, fresh, sequences, tokens


def prefix(case: Case) -> None:
    mixer = fresh(case)
    for grid in case.grids:
        x = tokens(case, 2, grid).detach()
        y = mixer(x).flatten(1, -2)
        for t in sorted({0, prod(grid) // 2, prod(grid) - 1}):
            changed = x.flatten(1, -2).clone()
            changed[:, t:] = 1e4 * torch.randn_like(changed[:, t:])
            z = mixer(changed.view_as(x)).flatten(1, -2)
            close(z[:, :t], y[:, :t], f"tokens from {t} on of {grid} change earlier outputs")


def jacobian(case: Case) -> None:
    mixer = fresh(case)
    x = tokens(case, 1, case.grids[-1])
    rows = mixer(x)[0].flatten(0, -2)
    for t, row in enumerate(rows):
        gradient = torch.autograd.grad(row.sum(), x, retain_graph=True)[0][0].flatten(0, -2)
        assert not gradient[t + 1 :].any(), f"output {t} has a gradient in later tokens"


def nan(case: Case) -> None:
    mixer = fresh(case)
    for grid in case.grids:
        for t in range(prod(grid)):
            x = tokens(case, 1, grid).detach().flatten(1, -2)
            x[:, t] = torch.nan
            y = mixer(x.view(1, *grid, case.dim)).flatten(1, -2)
            assert y[:, :t].isfinite().all(), f"NaN at {t} of {grid} reaches earlier outputs"


def step(case: Case) -> None:
    mixer: Any = fresh(case)
    for x in sequences(case):
        state, outputs = mixer.initial_state(len(x), x.device, x.dtype), []
        assert isinstance(state, tuple) and all(isinstance(s, Tensor) for s in state), "a state is a tuple of tensors"
        for x_t in x.unbind(1):
            y_t, state = mixer.step(x_t, state)
            outputs.append(y_t)
        close(torch.stack(outputs, 1), mixer(x), f"{x.shape[1]} steps against one pass")


def extend(case: Case) -> None:
    mixer: Any = fresh(case)
    for x in sequences(case):
        half = (x.shape[1] + 1) // 2
        expected = mixer(x)
        first, state = mixer.extend(x[:, :half], mixer.initial_state(len(x), x.device, x.dtype))
        close(first, expected[:, :half], "prefill against one pass")
        kept = pytree.tree_map(torch.clone, state)
        if half < x.shape[1]:
            close(mixer.extend(x[:, half:], state)[0], expected[:, half:], "second half from the first one's state")
        for t in range(half, x.shape[1]):
            y_t, kept = mixer.step(x[:, t], kept)
            close(y_t, expected[:, t], "steps after a prefill")


def reorder(case: Case) -> None:
    mixer: Any = fresh(case)
    x = torch.randn(3, case.dim, dtype=torch.float64)
    _, state = mixer.step(x, mixer.initial_state(3, x.device, x.dtype))
    order = torch.tensor([2, 0, 0])
    moved = pytree.tree_map(lambda s: s[order].clone(), state)
    x = torch.randn_like(x)
    close(mixer.step(x[order], moved)[0], mixer.step(x, state)[0][order], "state reordered with its batch")
