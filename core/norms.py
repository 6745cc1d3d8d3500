"""RMSNorm (Zhang & Sennrich 2019): y = weight * x / sqrt(mean(x^2) + eps), over the last axis.

Written with a dot product instead of torch's `rms_norm`, which is not fused on a CPU (1.1-3.9 times faster forward and
backward there). LayerNorm is torch's own; prefer it where a paper leaves the choice.
"""

__all__ = ["RMSNorm"]

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Root-mean-square normalisation of (..., dim), in float32 at least.

    Args:
        dim: width of the last axis.
        eps: added to the mean square.
    """

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        square = torch.linalg.vecdot(wide, wide)[..., None] / self.dim
        return (wide * torch.rsqrt(square + self.eps)).to(x.dtype) * self.weight
