"""Single-head attention on a part of the channels (SHViT, Yun & Ro 2024).

    a, b = channels of x;   q, k, v = W norm(a);   y = W_o relu(softmax(q k^T / sqrt(d)) v, b)

The norm is one over the whole map, both linear layers have a batch norm behind them, and W_o's begins at 0.

No mask: batch norms in training count every place.
"""

__all__ = ["SingleHeadAttention"]

import torch
from torch import Tensor

from core.conv_norm import ConvNorm
from core.layout import grid_of
from core.mixers.base import Mixer
from core.norms import MapNorm
from core.ops.single_head import single_head


class SingleHeadAttention(Mixer):
    """One head over some channels; the others pass by.

    Args:
        dim: width of the tokens.
        width: channels that attend.
        head_dim: width of queries and keys.
    """

    def __init__(self, dim: int, width: int, *, head_dim: int = 16) -> None:
        super().__init__()
        if not 1 <= width <= dim:
            raise ValueError(f"SingleHeadAttention: width {width} of dim {dim}; give one from 1 to dim")
        self.widths = (width, dim - width)
        self.head_dim = head_dim
        self.norm = MapNorm(width)
        self.qkv = ConvNorm(width, 2 * head_dim + width)
        self.out = ConvNorm(dim, dim, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dim)."""
        grid = grid_of(x)
        if len(grid) != 2:
            raise ValueError(f"SingleHeadAttention: a grid {grid}; give maps")
        part, rest = x.split(self.widths, dim=-1)
        qkv = self.qkv(self.norm(part)).flatten(1, 2)
        y = single_head(*qkv.split([self.head_dim, self.head_dim, self.widths[0]], dim=-1)).unflatten(1, grid)
        return self.out(torch.relu(torch.cat([y, rest], dim=-1)))
