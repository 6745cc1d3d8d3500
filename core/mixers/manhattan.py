"""Manhattan self-attention (RMT, Fan et al. 2024), full or decomposed into rows and columns; maths in
`core.ops.manhattan`.

    y = W_o (attention(turned q, turned k, v) + depthwise5(v))

q and k are turned by the raster number h W + w of their token, in frequencies 10000^-linspace(0, 1, d / 2).

No mask: raster numbers depend on the width of the map.
"""

__all__ = ["ManhattanAttention"]

import torch
from torch import Tensor, nn

from core.layout import grid_of
from core.mixers.base import Mixer, init_linear
from core.ops.manhattan import decay_rates, manhattan_attention, manhattan_decomposed
from core.positions import LePE, RotaryInterleaved


class ManhattanAttention(Mixer):
    """Attention on maps that decays with the Manhattan distance.

    Args:
        dim: width of the tokens.
        heads: number of heads, of even width.
        start: the rate of the first head is log(1 - 2^-start).
        spread: how far the exponent runs over the heads.
        decomposed: along rows, then along columns.
        kernel: of the convolution of the values.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        start: float = 2.0,
        spread: float = 4.0,
        decomposed: bool = False,
        kernel: int = 5,
    ) -> None:
        super().__init__()
        if dim % heads or (dim // heads) % 2:
            raise ValueError(f"ManhattanAttention: dim {dim} and {heads} heads; give heads of even width")
        self.heads = heads
        self.start = start
        self.spread = spread
        self.decomposed = decomposed
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.lepe = LePE(dim, (kernel, kernel))
        self.out = nn.Linear(dim, dim)
        # 10000^-(i / (n - 1)) as a power of i / n.
        pairs = dim // heads // 2
        self.rotary = RotaryInterleaved(1, 10000.0 ** (pairs / (pairs - 1)) if pairs > 1 else 10000.0)
        init_linear(self.q, self.k, self.v, self.out)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dim)."""
        grid = grid_of(x)
        if len(grid) != 2:
            raise ValueError(f"ManhattanAttention: a grid {grid}; give maps")
        places = torch.arange(grid[0] * grid[1], device=x.device, dtype=torch.float32).view(*grid, 1)
        q, k, v = (project(x) for project in (self.q, self.k, self.v))
        q, k = (self.rotary(t.unflatten(-1, (self.heads, -1)), places) for t in (q, k))
        rates = decay_rates(self.heads, self.start, self.spread, x.device)
        mix = manhattan_decomposed if self.decomposed else manhattan_attention
        y = mix(q, k, v.unflatten(-1, (self.heads, -1)), rates).flatten(-2)
        return self.out(y + self.lepe(v))
