"""Softmax attention of one head whose values are wider than its queries and keys (SHViT, EfficientViT):
y = softmax(scale q k^T + bias) v.

Shapes: q, k (B, N, d), v (B, N, e), bias broadcasting to (B, N, N) -> (B, N, e).

Written out, because torch's fused op has no fast form for values of another width.
"""

__all__ = ["single_head"]

import torch
from torch import Tensor


def single_head(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, scale: float | None = None) -> Tensor:
    """Attention of one head.

    Args:
        q, k, v: see above.
        bias: added to the scores; -inf where a key may not be seen.
        scale: factor of the scores, d ** -0.5 by default.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if bias is None:
        scores = (q * scale) @ k.mT
    else:
        scores = torch.baddbmm(bias.expand(len(q), -1, -1), q, k.mT, alpha=scale)
    return scores.softmax(-1) @ v
