"""Local structure fitting (GPSFormer, Wang et al. 2024), a reconstruction: no code of it was released, and what stands
here follows the abstract and summaries of the paper, which say that the convolution is built like a Taylor series:
low-order terms carry the basic shape of a neighbourhood and high-order terms refine it, from geometry that is encoded
explicitly. Here, over the K nearest points j of i (itself among them), f = W x, h = W' x:

    t_ij   = w_ij (h_j - h_i),    w_ij = W_2 GELU(W_1 [p_j - p_i, |p_j - p_i|])      a weight a channel
    low_i  = max_j f_j
    high_i = mean_j sum_n c_n t_ij^n / n!            n = 1 ... order, a coefficient a channel and order
    y_i    = W_o (low_i + high_i)

Coordinates are read through differences, so that a shift of the set changes nothing; tokens of a grid stand at its
coordinates.

Decided: whole powers, which are smooth where points or features coincide (the distance has gradient 0 there).
Numbers cannot be expected to equal the authors'.
"""

__all__ = ["LocalFitting"]

import torch
from torch import Tensor, nn

from core.layout import Ragged, Tokens, coordinates, grid_of, pack, unpack
from core.mixers.base import Mixer, init_linear
from core.ops.edge_conv import gather_rows
from core.ops.neighbours import nearest, nearest_ragged
from core.ops.point_pairs import safe_norm


class LocalFitting(Mixer):
    """Fits the features around each point by a series in weighted differences.

    Args:
        dim: width of the tokens.
        neighbours: K, fewer where the set is smaller.
        order: highest power of the series.
        rank: number of coordinates a point, the rank of grids.
        hidden: width of the network that weighs differences.

    Raises:
        ValueError: without neighbours or powers.
    """

    def __init__(self, dim: int, *, neighbours: int = 16, order: int = 2, rank: int = 3, hidden: int = 32) -> None:
        super().__init__()
        if neighbours < 1 or order < 1:
            raise ValueError(f"LocalFitting: {neighbours} neighbours and order {order}; give at least one of each")
        self.neighbours, self.rank = neighbours, rank
        self.low, self.high, self.out = (nn.Linear(dim, dim) for _ in range(3))
        self.weigh = nn.Sequential(nn.Linear(rank + 1, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.coefficients = nn.Parameter(torch.ones(order, dim))
        init_linear(self.low, self.high, self.out)

    def forward(self, x: Tokens, *, mask: Tensor | None = None) -> Tokens:
        """x (B, *grid, dim), or Ragged with coordinates (N, rank) and without a mask.

        Raises:
            ValueError: a mask with a ragged set, or another number of coordinates or of grid axes than `rank`.
        """
        if isinstance(x, Ragged):
            if mask is not None:
                raise ValueError("LocalFitting: a ragged set has no padding; leave the mask out")
            return x.with_tokens(self._points(x))
        if mask is not None:
            points = pack(x, mask)
            return unpack(points.with_tokens(self._points(points)), mask)
        places = self._checked(coordinates(grid_of(x), device=x.device).flatten(0, -2))
        return self._fit(x.flatten(1, -2), places, nearest(places, places, self.neighbours)).view(x.shape)

    def _points(self, x: Ragged) -> Tensor:
        places = self._checked(x.coords)
        return self._fit(x.tokens, places, nearest_ragged(places, places, x.offsets, x.offsets, self.neighbours))

    def _checked(self, places: Tensor | None) -> Tensor:
        if places is None or places.shape[-1] != self.rank:
            given = "none" if places is None else places.shape[-1]
            raise ValueError(
                f"LocalFitting: coordinates a point: {given}; give {self.rank}, or build it with that rank"
            )
        return places.to(torch.promote_types(places.dtype, self.out.weight.dtype))

    def _fit(self, x: Tensor, places: Tensor, rows: Tensor) -> Tensor:
        """x (..., N, dim), places (N, rank), rows (N, K), -1 for none -> (..., N, dim)."""
        if not x.numel():
            return x
        missing = (rows < 0)[..., None]
        step = (gather_rows(places, rows) - places[:, None]).masked_fill(missing, 0)
        weights = self.weigh(torch.cat([step, safe_norm(step)[..., None]], -1).to(self.out.weight.dtype))
        low = gather_rows(self.low(x), rows).masked_fill(missing, -torch.inf).amax(-2)
        features = self.high(x)
        t = weights * (gather_rows(features, rows) - features[..., None, :])
        # c_1 t + c_2 t^2 / 2 + ... from the highest power down.
        series = torch.zeros_like(t)
        for n in range(len(self.coefficients), 0, -1):
            series = t / n * (self.coefficients[n - 1] + series)
        high = series.masked_fill(missing, 0).sum(-2) / (~missing).sum(-2)
        return self.out(low + high)
