"""Cascaded group attention in windows (EfficientViT, Liu et al. 2023).

    q_i, k_i, v_i = W_i (x_i + y_(i-1));   y_i = softmax(conv(q_i) k_i^T / sqrt(d) + B_i[|dh|, |dw|]) v_i
    y = W_o relu(y_1, ..., y_h)

x_i are the channels cut in as many parts as there are heads, and y_0 = 0: heads come one after the other by definition.
Linear layers and convolutions have batch norms behind them, and W_o's begins at 0.

Decided: windows that a map does not fill see what is real alone, and a map shorter than a window on one axis has
windows as short; in training the batch norms count what was filled up.  The release fills up with zeros that attend
and convolve (`official=True`).  The bias is gathered each time, where the release keeps a copy from `eval()` on that
later weights do not reach.

No mask: batch norms in training count every place.
"""

__all__ = ["CascadedGroupAttention"]

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.conv_norm import ConvNorm
from core.layout import grid_of
from core.mixers.base import Mixer
from core.ops.single_head import single_head


class CascadedGroupAttention(Mixer):
    """Heads that read a part of the channels and what the head before made.

    Args:
        dim: width of the tokens.
        heads: number of heads, which divides dim.
        window: side of a window.
        kernels: of the convolution of the queries, one a head.
        head_dim: width of queries and keys.
        official: fill windows up and attend to what was filled, as the release does; for checkpoints.

    Attributes:
        table: (heads, window^2), a number for each head and absolute difference of places.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window: int,
        *,
        kernels: Sequence[int] = (5, 5, 5, 5),
        head_dim: int = 16,
        official: bool = False,
    ) -> None:
        super().__init__()
        if dim % heads or len(kernels) < heads:
            raise ValueError(
                f"CascadedGroupAttention: dim {dim}, {heads} heads, kernels {tuple(kernels)}; "
                "give a number of heads that divides dim and a kernel each"
            )
        self.heads = heads
        self.window = window
        self.head_dim = head_dim
        self.official = official
        width = dim // heads
        self.qkv = nn.ModuleList(ConvNorm(width, 2 * head_dim + width) for _ in range(heads))
        self.local = nn.ModuleList(ConvNorm(head_dim, head_dim, k, groups=head_dim) for k in kernels[:heads])
        self.out = ConvNorm(dim, dim, gain=0.0)
        self.table = nn.Parameter(torch.zeros(heads, window * window))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dim)."""
        grid = grid_of(x)
        if len(grid) != 2:
            raise ValueError(f"CascadedGroupAttention: a grid {grid}; give maps")
        sides = [min(self.window, length) for length in grid]
        if self.official and max(grid) > self.window:
            sides = [self.window] * 2
        windows, counts = _cut(x, sides)
        bias = self.table[:, _rows(*sides, self.window, x.device)]
        real = None
        if not self.official and any(length % side for length, side in zip(grid, sides, strict=True)):
            real, _ = _cut(torch.ones(1, *grid, 1, dtype=x.dtype, device=x.device), sides)
        y = self._cascade(windows, bias, real)
        y = y.unflatten(0, (len(x), *counts)).transpose(2, 3).flatten(1, 2).flatten(2, 3)
        return y[:, : grid[0], : grid[1]]

    def _cascade(self, x: Tensor, bias: Tensor, real: Tensor | None) -> Tensor:
        """x (B windows, h, w, dim), bias (heads, N, N), real (windows, h, w, 1) of ones and zeros."""
        size = x.shape[1:3]
        unseen = None
        if real is not None:
            # Every window holds a real token, its first.
            unseen = torch.zeros_like(real).masked_fill_(real == 0, -torch.inf).flatten(1)[:, None]
        parts = x.chunk(self.heads, dim=-1)
        made: list[Tensor] = []
        for head, (enter, local) in enumerate(zip(self.qkv, self.local, strict=True)):
            part = parts[head] + made[-1] if made else parts[head]
            q, k, v = enter(part).split([self.head_dim, self.head_dim, part.shape[-1]], dim=-1)
            addend = bias[head : head + 1]
            if real is not None and unseen is not None:
                q = (q.unflatten(0, (-1, len(real))) * real).flatten(0, 1)
                addend = (addend + unseen).repeat(len(x) // len(real), 1, 1)
            q = local(q)
            y = single_head(q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2), addend)
            made.append(y.unflatten(1, size))
        return self.out(torch.relu(torch.cat(made, dim=-1)))


def _cut(x: Tensor, sides: Sequence[int]) -> tuple[Tensor, tuple[int, int]]:
    """(B, H, W, C) -> (B windows, h, w, C), filled up with zeros, and how many windows there are an axis."""
    short = [-length % side for length, side in zip(x.shape[1:3], sides, strict=True)]
    x = F.pad(x, (0, 0, 0, short[1], 0, short[0])) if any(short) else x
    height, width = x.shape[1] // sides[0], x.shape[2] // sides[1]
    if height == width == 1:
        return x, (1, 1)
    x = x.unflatten(2, (width, sides[1])).unflatten(1, (height, sides[0])).transpose(2, 3)
    return x.flatten(0, 2), (height, width)


@lru_cache(maxsize=64)
def _rows(height: int, width: int, window: int, device: torch.device) -> Tensor:
    """(N, N): the place in the table of each pair of a window's places."""
    with torch.inference_mode(False):
        places = torch.cartesian_prod(torch.arange(height, device=device), torch.arange(width, device=device))
        delta = (places[:, None] - places).abs()
        return delta[..., 0] * window + delta[..., 1]
