"""The layer of LMUFormer (Liu et al. 2024): a Legendre memory in place of attention.

    x + BN(W memory(x)),    then x + relu(BN(W2 gelu(BN(W1 x))))

No norm stands in front, and the second branch never adds anything negative, as published.  In evaluation a frame
depends on nothing after it, so the layer streams; batch statistics in training leave padding out.
"""

__all__ = ["LMUFormerLayer", "MemoryBranch"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.mixers import LegendreMemory
from core.norms import FrameBatchNorm


class MemoryBranch(nn.Module):
    """BN(W memory(x)).

    Args:
        dim: width of the frames.
        order: numbers of the memory; dim by default.
        theta: frames the memory spans.
    """

    def __init__(self, dim: int, *, order: int | None = None, theta: float = 128.0) -> None:
        super().__init__()
        self.memory = LegendreMemory(dim, order=order, theta=theta)
        self.linear = nn.Linear(dim, dim)
        self.norm = FrameBatchNorm(dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, T, dim), mask (B, T)."""
        return self.norm(self.linear(self.memory(x, mask=mask)), mask)


class LMUFormerLayer(nn.Module):
    """Memory and feed-forward network, each with a residual.

    Args:
        dim: width of the frames.
        hidden: width inside the feed-forward network; 4 dim by default.
        order: numbers of the memory; dim by default.
        theta: frames the memory spans.
    """

    def __init__(self, dim: int, *, hidden: int | None = None, order: int | None = None, theta: float = 128.0) -> None:
        super().__init__()
        hidden = hidden or 4 * dim
        self.branch = MemoryBranch(dim, order=order, theta=theta)
        self.enter, self.enter_norm = nn.Linear(dim, hidden), FrameBatchNorm(hidden)
        self.leave, self.leave_norm = nn.Linear(hidden, dim), FrameBatchNorm(dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, T, dim), mask (B, T)."""
        x = x + self.branch(x, mask)
        hidden = F.gelu(self.enter_norm(self.enter(x), mask))
        return x + torch.relu(self.leave_norm(self.leave(hidden), mask))
