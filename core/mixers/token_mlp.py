"""Token MLP (MLP-Mixer, Tolstikhin et al. 2021): y = W2 gelu(W1 x) along the tokens, the same for every channel.

The weights belong to places, so the map has one fixed size and there is no mask.
"""

__all__ = ["TokenMLP"]

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn
from torch.nn import functional as F

from core.mixers.base import Mixer, check_map, init_linear


class TokenMLP(Mixer):
    """Two layers along the tokens.

    Args:
        dim: width of the tokens.
        grid: sizes of the map.
        hidden: width between the layers.
        dropout: after the activation.
    """

    def __init__(self, dim: int, grid: Sequence[int], hidden: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dim = dim
        self.grid = tuple(grid)
        self.enter = nn.Linear(prod(grid), hidden)
        self.leave = nn.Linear(hidden, prod(grid))
        self.dropout = nn.Dropout(dropout)
        init_linear(self.enter, self.leave)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, *grid, dim)."""
        check_map(self, x, self.grid, self.dim)
        y = self.leave(self.dropout(F.gelu(self.enter(x.flatten(1, -2).transpose(1, 2)))))
        return y.transpose(1, 2).unflatten(1, self.grid)
