"""Softmax attention on maps with a decay of the Manhattan distance (RMT, Fan et al. 2024).

    full:        y = softmax(scale q k^T + g (|dh| + |dw|)) v over the whole map
    decomposed:  u = softmax(scale q k^T + g |dw|) v along each row,
                 y = softmax(scale q k^T + g |dh|) u along each column

with one rate g <= 0 a head.  The decay is added to the scores, as the release has it; the paper multiplies the weights
with it after the softmax.  The two forms share q and k and are different operators.

Shapes: q, k, v (B, H, W, heads, d), rates (heads,) -> (B, H, W, heads, d).
"""

__all__ = [
    "decay_rates",
    "manhattan_attention",
    "manhattan_decomposed",
    "manhattan_decomposed_reference",
    "manhattan_reference",
]

import torch
from torch import Tensor

from core.ops.attend import attend, attend_reference


def decay_rates(heads: int, start: float, spread: float, device: torch.device | str | None = None) -> Tensor:
    """g_j = log(1 - 2^-(start + spread j / heads)) of head j."""
    steps = torch.arange(heads, device=device, dtype=torch.float32) / heads
    return torch.log1p(-(2.0 ** (-start - spread * steps)))


def manhattan_attention(q: Tensor, k: Tensor, v: Tensor, rates: Tensor, scale: float | None = None) -> Tensor:
    """All tokens with all; the decay is the sum of that of rows and that of columns."""
    height, width = q.shape[1:3]
    rows, columns = _along(height, rates, q), _along(width, rates, q)
    bias = (rows[:, :, None, :, None] + columns[:, None, :, None, :]).flatten(3).flatten(1, 2)
    heads = (t.flatten(1, 2).transpose(1, 2) for t in (q, k, v))
    return attend(*heads, bias=bias[None], scale=scale).transpose(1, 2).unflatten(1, (height, width))


def manhattan_decomposed(q: Tensor, k: Tensor, v: Tensor, rates: Tensor, scale: float | None = None) -> Tensor:
    """Rows first, then columns of the result."""
    v = _lines(q, k, v, _along(q.shape[2], rates, q), scale)
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    return _lines(q, k, v, _along(q.shape[2], rates, q), scale).transpose(1, 2)


def manhattan_reference(q: Tensor, k: Tensor, v: Tensor, rates: Tensor, scale: float | None = None) -> Tensor:
    """The full form from the coordinates of every pair."""
    grid = q.shape[1:3]
    places = torch.cartesian_prod(*(torch.arange(n, device=q.device) for n in grid)).view(-1, 2)
    distance = (places[:, None] - places).abs().sum(-1)
    heads = (t.flatten(1, 2).transpose(1, 2) for t in (q, k, v))
    bias = rates.to(q.dtype)[:, None, None] * distance
    return attend_reference(*heads, bias=bias, scale=scale).transpose(1, 2).unflatten(1, grid)


def manhattan_decomposed_reference(
    q: Tensor, k: Tensor, v: Tensor, rates: Tensor, scale: float | None = None
) -> Tensor:
    """The decomposed form line by line."""
    for _ in range(2):
        rows = zip(q.split(1, 1), k.split(1, 1), v.split(1, 1), strict=True)
        v = torch.cat([manhattan_reference(a, b, c, rates, scale) for a, b, c in rows], 1)
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    return v


def _along(length: int, rates: Tensor, like: Tensor) -> Tensor:
    """(heads, length, length): the decay between two places of a line."""
    places = torch.arange(length, device=like.device)
    return rates.to(like.dtype)[:, None, None] * (places[:, None] - places).abs()


def _lines(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float | None) -> Tensor:
    """Attention along the third axis, every line of the second by itself."""
    heads = (t.flatten(0, 1).transpose(1, 2) for t in (q, k, v))
    return attend(*heads, bias=bias[None], scale=scale).transpose(1, 2).unflatten(0, q.shape[:2])
