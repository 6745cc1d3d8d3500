"""Neighbourhood attention by a gather of every query's K^2 keys and values, which is what is left of NATTEN's CPU
kernels in plain torch.  Numbers of keys and rows of the table are made once, outside of what is timed."""

__all__ = ["GatheredNeighbourhoods"]

import torch
from torch import Tensor


class GatheredNeighbourhoods:
    """For maps of one size.

    Args:
        grid: sizes of the map, at least kernel * dilation.
        kernel: keys an axis.
        dilation: distance of two keys.
    """

    def __init__(self, grid: tuple[int, int], kernel: int, dilation: int) -> None:
        keys, steps = zip(*(self._axis(length, kernel, dilation) for length in grid), strict=True)
        self.keys = (keys[0][:, None, :, None] * grid[1] + keys[1][None, :, None, :]).reshape(grid[0] * grid[1], -1)
        rows = steps[0][:, None, :, None] * (2 * kernel - 1) + steps[1][None, :, None, :]
        self.rows = rows.reshape(grid[0] * grid[1], -1)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, table: Tensor) -> Tensor:
        """q, k, v (B, H, W, heads, d), table (rows, heads)."""
        grid = q.shape[1:3]
        q, k, v = (t.flatten(1, 2).transpose(1, 2) for t in (q, k, v))
        count = self.keys.shape[1]
        keys, values = (t.index_select(2, self.keys.flatten()).unflatten(2, (-1, count)) for t in (k, v))
        scores = ((q * q.shape[-1] ** -0.5)[..., None, :] @ keys.mT)[..., 0, :]
        bias = table.index_select(0, self.rows.flatten()).view(*self.rows.shape, -1).movedim(-1, 0)
        weights = (scores + bias).softmax(-1)
        return (weights[..., None, :] @ values)[..., 0, :].transpose(1, 2).unflatten(1, grid)

    @staticmethod
    def _axis(length: int, kernel: int, dilation: int) -> tuple[Tensor, Tensor]:
        place = torch.arange(length)
        own = (length - place % dilation + dilation - 1) // dilation
        start = torch.minimum((place // dilation - kernel // 2).clamp(min=0), own - kernel)
        steps = start[:, None] + torch.arange(kernel)
        return steps * dilation + (place % dilation)[:, None], steps - (place // dilation)[:, None] + kernel - 1
