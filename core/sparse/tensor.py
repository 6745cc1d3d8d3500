"""Sparse tensors: features at the occupied sites of a batch of grids.

    features    (N, C)
    coords      (N, 1 + D) int64, rows (sample, *place) such as (b, z, y, x); D = 1 to 3
    grid        extent of the grid an axis, in the order of `coords`
    batch_size  number of samples B; any of them may be empty

`Sites` are coordinates without features. They are sorted by (sample, *place) and free of duplicates, always: sums then
have one order whatever the order of the points was, neighbours lie close in memory, and a line of sites along the last
axis is a run of rows. What is computed from sites alone (pairs of a convolution, windows) is kept with them, so that
all tensors at the same sites share it; it goes when the last of these tensors goes.

Keys are int64: (b * (Z + 2 halo_z) + z + halo_z) * (Y + 2 halo_y) + ... Within the halo a step to a neighbour is a
constant difference of keys that never runs into the next line. Releases count in int32, which a batch of 24 samples of
1408 x 1600 x 41 sites overflows.
"""

__all__ = ["Sites", "SparseTensor"]

from collections.abc import Callable, Hashable, Sequence
from math import prod
from typing import TypeVar

import torch
from torch import Tensor

from core.layout import Ragged

Plan = TypeVar("Plan")
_LARGEST = 2**63 - 1


class Sites:
    """Occupied places of a batch of grids, sorted; `Sites.of` makes them from any order.

    Attributes:
        coords: (N, 1 + D) int64, sorted by row.
        grid: extent an axis.
        batch_size: number of samples.
        order: (N,) number of the caller's row that each row was, or None where they came sorted.
    """

    def __init__(self, coords: Tensor, grid: Sequence[int], batch_size: int, order: Tensor | None = None) -> None:
        self.coords, self.grid, self.batch_size, self.order = coords, tuple(grid), batch_size, order
        self._plans: dict[Hashable, object] = {}

    @classmethod
    def of(cls, coords: Tensor, grid: Sequence[int], batch_size: int) -> "Sites":
        """Sites in any order, sorted here.

        Args:
            coords: (N, 1 + D) of any integer type, rows (sample, *place).
            grid: extent an axis.
            batch_size: number of samples, those without sites included.

        Raises:
            ValueError: rows of another length than the grid says, a site outside the batch or the grid, a site
                given twice, or a grid that int64 cannot number.
        """
        grid = tuple(int(n) for n in grid)
        if coords.ndim != 2 or coords.shape[1] != 1 + len(grid) or not 1 <= len(grid) <= 3:
            raise ValueError(
                f"Sites: coordinates of shape {tuple(coords.shape)} on a grid {grid}; "
                "give one row (sample, *place) a site and a grid of one to three axes"
            )
        if coords.is_floating_point() or coords.dtype == torch.bool:
            raise ValueError(f"Sites: coordinates of type {coords.dtype}; give integers")
        coords = coords.long()
        extent = torch.tensor((batch_size, *grid), device=coords.device)
        outside = ((coords < 0) | (coords >= extent)).any(1)
        if bool(outside.any()):
            raise ValueError(
                f"Sites: site {coords[outside][0].tolist()} lies outside {batch_size} samples of {grid}; "
                "drop what is outside first"
            )
        keys = _keys(coords, grid, batch_size, (0,) * len(grid))
        if bool((keys[1:] > keys[:-1]).all()):
            return cls(coords, grid, batch_size)
        keys, order = keys.sort()
        twice = keys[1:] == keys[:-1]
        if bool(twice.any()):
            place = coords[order[1:][twice][0]].tolist()
            raise ValueError(f"Sites: site {place} is given more than once; merge equal sites first")
        return cls(coords[order], grid, batch_size, order)

    @classmethod
    def from_keys(cls, keys: Tensor, grid: Sequence[int], batch_size: int) -> "Sites":
        """Sites from their sorted keys without a halo (see `keys`)."""
        columns, rest = [], keys
        for length in reversed(grid):
            columns.append(rest % length)
            rest = rest.div(length, rounding_mode="floor")
        return cls(torch.stack([rest, *reversed(columns)], 1), grid, batch_size)

    def __len__(self) -> int:
        return len(self.coords)

    def __repr__(self) -> str:
        return f"Sites({len(self)} of {self.batch_size} x {' x '.join(map(str, self.grid))})"

    @property
    def rank(self) -> int:
        """Number of axes D."""
        return len(self.grid)

    @property
    def device(self) -> torch.device:
        """Where the coordinates are."""
        return self.coords.device

    def keys(self, halo: Sequence[int] | None = None) -> Tensor:
        """(N,) int64 numbers, rising: raster order of the batch of grids, each wider by `halo` on both sides."""
        halo = tuple(halo or (0,) * self.rank)
        return self.plan(("keys", halo), lambda: _keys(self.coords, self.grid, self.batch_size, halo))

    @property
    def offsets(self) -> Tensor:
        """(B + 1,) where the rows of each sample start; the last entry is N."""
        return self.plan("offsets", self._offsets)

    def _offsets(self) -> Tensor:
        samples = torch.arange(self.batch_size + 1, device=self.device)
        return torch.searchsorted(self.coords[:, 0].contiguous(), samples)

    def plan(self, key: Hashable, make: Callable[[], Plan]) -> Plan:
        """What `make` computes from these sites, once a key; keys start with a name of their own."""
        found = self._plans.get(key)
        if found is None:
            # Kept for training too when first asked for in inference mode.
            with torch.inference_mode(False):
                found = self._plans[key] = make()
        return found  # type: ignore[return-value]

    def sort(self, rows: Tensor) -> Tensor:
        """Rows (N, ...) in the caller's order -> in the order of these sites."""
        return rows if self.order is None else rows[self.order]

    def restore(self, rows: Tensor) -> Tensor:
        """Inverse of `sort`: rows (N, ...) of these sites -> in the order the caller gave them."""
        if self.order is None:
            return rows
        return rows[self.plan("restore", lambda: self.order.argsort())]  # type: ignore[union-attr]


class SparseTensor:
    """Features (N, C) at sites; `SparseTensor.of` makes one from coordinates in any order."""

    def __init__(self, features: Tensor, sites: Sites) -> None:
        if features.ndim != 2 or len(features) != len(sites):
            raise ValueError(
                f"SparseTensor: features of shape {tuple(features.shape)} at {len(sites)} sites; give (sites, channels)"
            )
        self.features, self.sites = features, sites

    @classmethod
    def of(cls, features: Tensor, coords: Tensor, grid: Sequence[int], batch_size: int) -> "SparseTensor":
        """Features (N, C) with coordinates (N, 1 + D) in any order; `sites.restore` returns rows to that order.

        Raises:
            ValueError: see `Sites.of`.
        """
        if len(features) != len(coords):
            raise ValueError(f"SparseTensor: {len(features)} features for {len(coords)} coordinates; give one row each")
        sites = Sites.of(coords, grid, batch_size)
        return cls(sites.sort(features), sites)

    @classmethod
    def from_dense(cls, x: Tensor, occupied: Tensor | None = None) -> "SparseTensor":
        """The occupied places of tokens (B, *grid, C).

        Args:
            x: tokens.
            occupied: (B, *grid) boolean; by default where any channel differs from 0.
        """
        occupied = (x != 0).any(-1) if occupied is None else occupied
        return cls(x[occupied], Sites(occupied.nonzero(), x.shape[1:-1], len(x)))

    def __repr__(self) -> str:
        return f"SparseTensor({self.features.shape[1]} channels, {self.sites})"

    @property
    def coords(self) -> Tensor:
        """(N, 1 + D) int64, sorted."""
        return self.sites.coords

    @property
    def grid(self) -> tuple[int, ...]:
        """Extent an axis."""
        return self.sites.grid

    @property
    def batch_size(self) -> int:
        """Number of samples."""
        return self.sites.batch_size

    def replace(self, features: Tensor) -> "SparseTensor":
        """Other features (N, C') at the same sites."""
        return SparseTensor(features, self.sites)

    def dense(self) -> Tensor:
        """Tokens (B, *grid, C), 0 where nothing is."""
        shape = self.batch_size, *self.grid
        flat = self.features.new_zeros(prod(shape), self.features.shape[1])
        return flat.index_copy(0, self.sites.keys(), self.features).view(*shape, -1)

    def ragged(self) -> Ragged:
        """One segment a sample, coordinates (N, D) without the sample's number."""
        return Ragged(self.features, self.sites.offsets, self.coords[:, 1:])


def _keys(coords: Tensor, grid: tuple[int, ...], batch_size: int, halo: tuple[int, ...]) -> Tensor:
    extent = [length + 2 * h for length, h in zip(grid, halo, strict=True)]
    if max(batch_size, 1) * prod(extent) > _LARGEST:
        raise ValueError(f"Sites: {batch_size} x {extent} places are more than int64 counts; take a smaller grid")
    keys = coords[:, 0].clone()
    for column, length, h in zip(coords.unbind(1)[1:], extent, halo, strict=True):
        keys = keys.mul_(length).add_(column)
        if h:
            keys.add_(h)
    return keys
