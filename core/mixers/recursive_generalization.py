"""Attention to a few tokens that one strided convolution, used again and again, leaves of the map (RGT, Chen 2024).

    r = GELU(LN(W (depthwise 3 x 3 of R^T x))),  R: depthwise 4 x 4, stride 4, the same weights T times
    q = W_q x,  k = W_k r,  v = W_v r + depthwise 3 x 3 of it on the coarse map;  y = W_o softmax(q k^T scale) v

q and k have `ratio` of the width. T in training: the largest with 4^(T+1) <= the longer side; in evaluation the largest
with 4^(T+2) <= it, but 2 at least. So training and evaluation differ below 64 pixels, as in the release.

Decided: T is capped so that the coarse map keeps a pixel, where the release fails on small and elongated images. For
few keys W_q is multiplied into k and W_o into v, a sample at a time, which saves both products with the scores.
"""

__all__ = ["RecursiveGeneralization"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.layout import grid_of
from core.mixers.base import Mixer, init_linear
from core.mixers.convolution import DepthwiseConv
from core.ops.attend import attend

_STRIDE = 4


class RecursiveGeneralization(Mixer):
    """All tokens attend to a small coarse map of themselves.

    Args:
        dim: width of the tokens (B, H, W, dim).
        heads: number of heads.
        ratio: width of q and k, as a share of dim.
        bias: whether q, k and v have one.
        scale: factor of the scores; (width of a head * ratio) ** -0.5 by default.

    Raises:
        ValueError: where the number of heads does not divide dim or the width of q and k.
    """

    def __init__(
        self, dim: int, heads: int, *, ratio: float = 0.5, bias: bool = True, scale: float | None = None
    ) -> None:
        super().__init__()
        narrow = int(dim * ratio)
        if dim % heads or narrow < heads or narrow % heads:
            raise ValueError(
                f"RecursiveGeneralization: dim {dim}, {heads} heads, q and k {narrow} wide; "
                "give heads that divide both widths"
            )
        self.heads = heads
        self.scale = (dim // heads * ratio) ** -0.5 if scale is None else scale
        self.reduce = nn.Conv2d(dim, dim, _STRIDE, _STRIDE, groups=dim)
        self.near = DepthwiseConv(dim)
        self.narrow = nn.Linear(dim, narrow)
        self.norm = nn.LayerNorm(narrow)
        self.q = nn.Linear(dim, narrow, bias=bias)
        self.k = nn.Linear(narrow, narrow, bias=bias)
        self.v = nn.Linear(narrow, dim, bias=bias)
        self.local = DepthwiseConv(dim)
        self.out = nn.Linear(dim, dim)
        init_linear(self.narrow, self.q, self.k, self.v, self.out)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dim)."""
        coarse = x.movedim(-1, 1)
        for _ in range(self.recursions(grid_of(x))):
            coarse = self.reduce(coarse)
        few = F.gelu(self.norm(self.narrow(self.near(coarse.movedim(1, -1)))))
        k, v = self.k(few), self.v(few)
        v = v + self.local(v)
        k, v = (t.flatten(1, 2).unflatten(-1, (self.heads, -1)) for t in (k, v))
        y = self._merged(x, k, v) if k.shape[1] <= self._few() else self._apart(x, k, v)
        return y.view_as(x)

    def recursions(self, grid: tuple[int, ...]) -> int:
        """T for a map, in the mode the mixer is in."""
        before, least = (1, 0) if self.training else (2, 2)
        wanted = max(_powers(max(grid)) - before, least)
        return min(wanted, _powers(min(grid)))

    def _few(self) -> int:
        """Up to so many keys the merged form multiplies less."""
        dim, narrow = self.q.in_features, self.q.out_features
        return dim * (dim + narrow) // (2 * dim * self.heads - dim - narrow)

    def _merged(self, x: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """k and v (B, M, heads, d) with the projections of x and y multiplied into them: (B, H W, dim)."""
        own = self.q.weight.unflatten(0, (self.heads, -1))
        keys = torch.einsum("bmhd,hdc->bhmc", k, own * self.scale).flatten(1, 2)
        if self.q.bias is None:
            scores = x.flatten(1, 2) @ keys.mT
        else:
            constant = torch.einsum("bmhd,hd->bhm", k, self.q.bias.view(self.heads, -1) * self.scale)
            scores = torch.baddbmm(constant.flatten(1)[:, None], x.flatten(1, 2), keys.mT)
        weights = scores.unflatten(-1, (self.heads, -1)).softmax(-1).flatten(2).to(v.dtype)
        out = self.out.weight.unflatten(1, (self.heads, -1))
        values = torch.einsum("bmhd,chd->bhmc", v, out).flatten(1, 2)
        return torch.baddbmm(self.out.bias, weights, values)

    def _apart(self, x: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q = self.q(x).flatten(1, 2).unflatten(-1, (self.heads, -1))
        y = attend(*(t.transpose(1, 2) for t in (q, k, v)), scale=self.scale)
        return self.out(y.transpose(1, 2).flatten(2))


def _powers(length: int) -> int:
    """The largest T with 4^T <= length; integers, since a float logarithm is off by one at exact powers."""
    return (length.bit_length() - 1) // 2
