"""The selective scan of state-space models (Gu and Dao 2023, "Mamba"), a linear recurrence with a decay of each channel
and state that depends on the token:

    s_t = exp(dt_t A) s_{t-1} + dt_t B_t u_t,   y_t = C_t . s_t

Shapes: u and dt (B, T, D), A (D, N) below 0, B and C (B, T, N) or by groups of channels (B, T, G, N), states (B, D, N)
-> y (B, T, D). Note that B is multiplied by dt (Euler's rule), not integrated. The skip D u, the gate and the softplus
of dt are the caller's.

Kept for the backward pass are the inputs and one state a chunk; decays and the states in between are computed again, so
nothing of size (T, D, N) exists. Time comes first in a chunk, whose states fit in the cache. One thread, T 784, D 192,
N 16: a sixth to a tenth of the time of the release's reference forward, a fiftieth with the backward pass. Dividing by
products of decays, which would spare the loop over time, underflows (exp(-1.6 T) at the usual start). States are
float32 at least.
"""

__all__ = ["selective_scan", "selective_scan_reference"]

from typing import Any

import torch
from torch import Tensor

# Numbers in the states of a chunk: 512 KiB of float32.
_CHUNK = 2**17


def selective_scan(
    u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, *, initial_state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Scan of sequences.

    Args:
        u: (B, T, D).
        dt: (B, T, D), step sizes, not negative; 0 leaves the state as it is.
        a: (D, N), rates of decay, below 0.
        b: (B, T, N), or (B, T, G, N) with D a multiple of G: channels d, d + 1, ... of one group share a row.
        c: as b.
        initial_state: (B, D, N), 0 by default.

    Returns:
        y (B, T, D) and the state (B, D, N) after the last token.

    Raises:
        ValueError: shapes that do not belong together.
    """
    batch, length, width = u.shape
    if b.ndim == 3:
        b, c = b[:, :, None], c[:, :, None]
    groups, size = b.shape[2:]
    if dt.shape != u.shape or b.shape != c.shape or a.shape != (width, size) or width % groups:
        raise ValueError(
            f"selective_scan: u {tuple(u.shape)}, dt {tuple(dt.shape)}, a {tuple(a.shape)}, b {tuple(b.shape)} and c "
            f"{tuple(c.shape)}; they must be (B, T, D), (B, T, D), (D, N), (B, T, G, N) and (B, T, G, N)."
        )
    dtype = torch.promote_types(u.dtype, torch.float32)
    if initial_state is None:
        initial_state = u.new_zeros(batch, width, size, dtype=dtype)
    # Time first; channels by group: (T, B, G, d), (T, B, G, N), (G, d, N), (B, G, d, N).
    u_, dt_, b_, c_ = (t.to(dtype).transpose(0, 1) for t in (u, dt, b, c))
    u_, dt_ = (t.unflatten(-1, (groups, -1)) for t in (u_, dt_))
    a_, state = a.to(dtype).view(groups, -1, size), initial_state.to(dtype).unflatten(1, (groups, -1))
    if length == 0:
        return u, initial_state
    if torch.compiler.is_compiling():
        y, state = _loop(u_, dt_, a_, b_, c_, state)
    else:
        with torch.autocast(u.device.type, enabled=False):
            y, state = _Scan.apply(u_, dt_, a_, b_.contiguous(), c_.contiguous(), state)
    return y.flatten(2).transpose(0, 1).to(u.dtype), state.flatten(1, 2)


def selective_scan_reference(
    u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, *, initial_state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The recurrence, token by token; b and c (B, T, N)."""
    state = u.new_zeros(u.shape[0], *a.shape) if initial_state is None else initial_state
    outputs = []
    for t in range(u.shape[1]):
        decay = torch.exp(dt[:, t, :, None] * a)
        state = decay * state + (dt[:, t] * u[:, t])[:, :, None] * b[:, t, None]
        outputs.append((state * c[:, t, None]).sum(-1))
    return torch.stack(outputs, 1), state


def _loop(u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """By operations that a compiler differentiates; indexing instead of unbinding would be quadratic backwards."""
    decays = torch.exp(dt[..., None] * a).unbind()
    gains = ((dt * u)[..., None] * b[..., None, :]).unbind()
    states = []
    for decay, gain in zip(decays, gains, strict=True):
        state = decay * state + gain
        states.append(state)
    return (torch.stack(states) * c[..., None, :]).sum(-1), state


def _chunks(u: Tensor, states: Tensor) -> list[slice]:
    """Of time, so that a chunk's states fit in the cache, and no shorter than the root of T: one state each is kept."""
    length = len(u)
    at_most = max(_CHUNK // max(states.numel(), 1), int(length**0.5), 1)
    return [slice(i, min(i + at_most, length)) for i in range(0, length, at_most)]


def _run(u: Tensor, dt: Tensor, a: Tensor, b: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Decays and states of a chunk, (t, B, G, d, N) each."""
    decays = (dt[..., None] * a).exp_()
    states = (dt * u)[..., None] * b[..., None, :]
    before = state
    for decay, after in zip(decays.unbind(), states.unbind(), strict=True):
        after.addcmul_(decay, before)
        before = after
    return decays, states


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        y = torch.empty(u.shape, dtype=u.dtype, device=u.device)
        starts = [state]
        for part in _chunks(u, state):
            _, states = _run(u[part], dt[part], a, b[part], starts[-1])
            y[part] = (states @ c[part][..., None]).squeeze(-1)
            starts.append(states[-1].clone())
        ctx.save_for_backward(u, dt, a, b, c, *starts[:-1])
        return y, starts[-1]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_y: Tensor, of_state: Tensor) -> tuple[Tensor, ...]:
        u, dt, a, b, c, *starts = ctx.saved_tensors
        of_u, of_dt = (torch.empty(u.shape, dtype=u.dtype, device=u.device) for _ in range(2))
        of_b, of_c, of_a = torch.empty_like(b), torch.empty_like(c), torch.zeros_like(a)
        of_y, carried = of_y.contiguous(), of_state
        for part, start in reversed(list(zip(_chunks(u, starts[0]), starts, strict=True))):
            decays, states = _run(u[part], dt[part], a, b[part], start)
            of_c[part] = (of_y[part][..., None, :] @ states).squeeze(-2)
            # What the loss owes to each state: by its own output and, decayed, by the state after it.
            owed = of_y[part][..., None] * c[part][..., None, :]
            each, rates = owed.unbind(), decays.unbind()
            each[-1].add_(carried)
            for t in range(len(each) - 1, 0, -1):
                each[t - 1].addcmul_(rates[t], each[t])
            carried = rates[0] * each[0]
            gain = dt[part] * u[part]
            of_b[part] = (gain[..., None, :] @ owed).squeeze(-2)
            of_gain = (owed @ b[part][..., None]).squeeze(-1)
            # Now what it owes to the logarithm of each decay.
            owed.mul_(decays)
            owed[1:].mul_(states[:-1])
            owed[0].mul_(start)
            of_a += (owed * dt[part][..., None]).sum((0, 1))
            of_u[part] = of_gain * dt[part]
            of_dt[part] = of_gain * u[part] + owed.mul_(a).sum(-1)
        return of_u, of_dt, of_a, of_b, of_c, carried
