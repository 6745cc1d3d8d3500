"""Squeeze and excitation (Hu et al. 2018): y = x * sigmoid(W2 act(W1 mean(x))), the mean over the grid.

The gate is apart from its product, so that a residual branch can take both in one multiply-add.
"""

__all__ = ["ChannelAttention"]

from collections.abc import Callable

import torch
from torch import Tensor, nn

from core.layout import zero_padding


class ChannelAttention(nn.Module):
    """Every channel is weighted by what the means of all channels say.

    Args:
        dim: width of the tokens.
        hidden: width between the layers.
        activation: makes what stands between them.

    Raises:
        ValueError: for a hidden width below 1.
    """

    def __init__(self, dim: int, hidden: int, *, activation: Callable[[], nn.Module] = nn.ReLU) -> None:
        super().__init__()
        if hidden < 1:
            raise ValueError(f"ChannelAttention: hidden width {hidden}; give at least 1")
        self.enter = nn.Linear(dim, hidden)
        self.activation = activation()
        self.leave = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, *grid, dim), mask (B, *grid) True = real token -> the same shape; 0 at padding."""
        x = zero_padding(x, mask)
        return x * self.gate(x, mask=mask)

    def gate(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Weights in (0, 1), (B, 1, ..., 1, dim); padded tokens, 0 already, are left out of the mean."""
        axes = tuple(range(1, x.ndim - 1))
        if mask is None:
            mean = x.mean(axes)
        else:
            count = mask.flatten(1).sum(1).clamp(min=1)
            mean = x.sum(axes) / count[:, None]
        weights = torch.sigmoid(self.leave(self.activation(self.enter(mean))))
        return weights.view(len(x), *(1 for _ in axes), -1)
