"""Linear attention whose memory decays, by one number a head and token (Mamba-2's duality, Dao and Gu 2024; retention
and gated linear attention are cases of it):

    S_t = exp(g_t) S_{t-1} + k_t v_t^T,   y_t = q_t S_t

Shapes: q and k (B, T, H, N), v (B, T, H, P), g (B, T, H) not above 0 -> y (B, T, H, P), states (B, H, N, P).  Mamba-2
is q = C, k = B, v = dt x, g = dt A.

In chunks of 64: inside a chunk the T^2 form with exp of differences of cumulative g, masked before the exponential, and
between chunks the running state.  Nothing of size (T, N, P) exists.  States are float32 at least.
"""

__all__ = ["decay_linear_attention", "decay_linear_attention_reference"]

import torch
from torch import Tensor
from torch.nn import functional as F


def decay_linear_attention(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, *, initial_state: Tensor | None = None, chunk: int = 64
) -> tuple[Tensor, Tensor]:
    """Chunked form.

    Args:
        q, k, v: (B, T, H, N), (B, T, H, N), (B, T, H, P).
        log_decay: (B, T, H).
        initial_state: (B, H, N, P), 0 by default.
        chunk: tokens a chunk; the result does not depend on it.

    Returns:
        y (B, T, H, P) and the state after the last token.
    """
    length, dtype = q.shape[1], torch.promote_types(q.dtype, torch.float32)
    chunk = min(chunk, max(length, 1))
    short = -length % chunk
    # Tokens added at the end have neither key nor decay, and so leave the state as it is.
    parts = (F.pad(t.to(dtype), (0, 0, 0, 0, 0, short)).unflatten(1, (-1, chunk)) for t in (q, k, v))
    q_, k_, v_ = (t.transpose(2, 3) for t in parts)  # (B, chunks, H, chunk, .)
    sums = F.pad(log_decay.to(dtype), (0, 0, 0, short)).unflatten(1, (-1, chunk)).transpose(2, 3).cumsum(-1)
    later = torch.ones(chunk, chunk, dtype=torch.bool, device=q.device).triu(1)
    within = (sums[..., :, None] - sums[..., None, :]).masked_fill(later, -torch.inf).exp()
    gains = (k_ * (sums[..., -1:] - sums).exp()[..., None]).mT @ v_
    state = gains.new_zeros(gains[:, 0].shape) if initial_state is None else initial_state.to(dtype)
    before = []
    for gain, decay in zip(gains.unbind(1), sums[..., -1].exp().unbind(1), strict=True):
        before.append(state)
        state = gain + decay[..., None, None] * state
    y = (q_ @ k_.mT * within) @ v_
    if before:
        y = y + (q_ * sums.exp()[..., None]) @ torch.stack(before, 1)
    return y.transpose(2, 3).flatten(1, 2)[:, :length].to(v.dtype), state


def decay_linear_attention_reference(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, *, initial_state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The recurrence, token by token."""
    batch, length, heads, size = q.shape
    state = q.new_zeros(batch, heads, size, v.shape[-1]) if initial_state is None else initial_state
    outputs = []
    for t in range(length):
        state = log_decay[:, t].exp()[..., None, None] * state + k[:, t, :, :, None] * v[:, t, :, None]
        outputs.append((q[:, t, :, None] @ state)[:, :, 0])
    return torch.stack(outputs, 1), state
