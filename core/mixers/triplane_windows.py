"""Attention in three thin windows with local convolutions around it (ConDaFormer, Duan et al. 2023): a third of the
heads each attends within boxes (w, w, 1), (w, 1, w) and (1, w, w) of the points' coordinates, whose axes' unit is a
voxel.

    z = [BN(W x), BN(W' GELU(BN(dw x)))]           dw: depthwise 3 x 3 x 3 over occupied voxels
    h = attention of q, k, v = W_qkv z             with tables on q, k and v, see `core.ops.table_attention`
    y = W_o [BN(W h), BN(W' GELU(BN(dw h)))]       a second set of weights

A point's cell in its window is floor(place / quantum) an axis; the tables of cells are shared by the three planes.
Windows begin at the smallest coordinates, half a window before them where shifted (half a voxel on a thin axis).

Decided: the release begins at the smallest coordinates of the whole batch, so that a sample's windows depend on the
others; here each sample has its own origin, and `official=True` reproduces the release. A voxel is floor(coordinates);
the convolution reads the mean where several points share one. On a grid tokens stand at whole coordinates. BatchNorm
takes its running statistics where there is one row only, instead of raising.
"""

__all__ = ["TriPlaneWindowAttention"]

from collections.abc import Callable, Sequence
from math import ceil, prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.layout import Ragged, Tokens, coordinates, grid_of, pack, unpack
from core.mixers.base import Mixer
from core.ops.depthwise import depthwise
from core.ops.sparse_conv import sparse_depthwise
from core.ops.table_attention import table_attend
from core.partitions import Plan, Windows, group_plan, window_ids
from core.sparse.rulebook import submanifold_pairs
from core.sparse.tensor import Sites

_KERNEL = (3, 3, 3)


class TriPlaneWindowAttention(Mixer):
    """Points attend to the points of three thin windows.

    Args:
        dim: width of the tokens, even.
        heads: number of heads, a multiple of 3.
        window: long side of a window, in voxels; a whole number where the mixer is used on grids.
        quantum: side of a cell of the position tables; divides the window.
        shifted: windows begin half a window earlier; blocks alternate.
        official: windows begin at the smallest coordinates of the whole batch, as the release's; for points.

    Raises:
        ValueError: widths, heads, windows or quanta that do not fit together.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window: float,
        *,
        quantum: float = 0.25,
        shifted: bool = False,
        official: bool = False,
    ) -> None:
        super().__init__()
        if dim % 2 or heads < 1 or heads % 3 or dim % heads:
            raise ValueError(
                f"TriPlaneWindowAttention: dim {dim} and {heads} heads; give an even dim and heads that divide it, "
                "a third of them for each plane"
            )
        cells = round(window / quantum) if quantum > 0 else 0
        if window < 1 or cells < 1 or abs(cells * quantum - window) > 1e-4 * quantum:
            raise ValueError(
                f"TriPlaneWindowAttention: window {window} in cells of {quantum}; give a window of at least one voxel "
                "and a quantum that divides it"
            )
        self.heads, self.window, self.quantum, self.shifted, self.official = heads, window, quantum, shifted, official
        self.cells = cells
        self.sizes = [tuple(1.0 if axis == thin else float(window) for axis in range(3)) for thin in (2, 1, 0)]
        self.before, self.after = _Convolutions(dim), _Convolutions(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        shape = 2 * cells - 1, 3, heads // 3, dim // heads
        self.q_table, self.k_table, self.v_table = (nn.Parameter(torch.empty(shape)) for _ in range(3))
        for table in (self.q_table, self.k_table, self.v_table):
            nn.init.trunc_normal_(table, std=0.02)
        for layer in (self.qkv, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tokens, *, mask: Tensor | None = None) -> Tokens:
        """x (B, X, Y, Z, dim), or Ragged with coordinates (N, 3) and without a mask.

        Raises:
            ValueError: a mask with a ragged set, points without three finite coordinates, a grid of another rank or
                with a window that is no whole number.
        """
        if isinstance(x, Ragged):
            if mask is not None:
                raise ValueError("TriPlaneWindowAttention: a ragged set has no padding; leave the mask out")
            return x.with_tokens(self._points(x))
        if len(grid_of(x)) != 3 or self.window != int(self.window):
            raise ValueError(
                f"TriPlaneWindowAttention: a grid {grid_of(x)} in windows of {self.window}; "
                "give a grid of three axes and a whole number, or points"
            )
        if mask is not None:
            points = pack(x, mask)
            return unpack(points.with_tokens(self._points(points)), mask)
        return self._mix(x, _over_grid, self._grid_planes(grid_of(x), x.device))

    def _mix(
        self, x: Tensor, convolve: Callable[[Tensor, Tensor], Tensor], planes: Sequence[tuple[Plan, Tensor]]
    ) -> Tensor:
        """x (B, *grid, dim) with what convolves it and the three planes' plans and cells."""
        q, k, v = self.qkv(self.before(x, convolve)).unflatten(-1, (3, 3, self.heads // 3, -1)).unbind(-4)
        tables = self.q_table, self.k_table, self.v_table
        parts = [
            table_attend(q[..., i, :, :], k[..., i, :, :], v[..., i, :, :], cells, self._extents(size), tables, plan)
            for i, (size, (plan, cells)) in enumerate(zip(self.sizes, planes, strict=True))
        ]
        return self.out(self.after(torch.cat(parts, -2).flatten(-2), convolve))

    def _extents(self, size: Sequence[float]) -> list[int]:
        """Number of cells an axis of a window."""
        return [self.cells if side == self.window else min(ceil(side / self.quantum), self.cells) for side in size]

    def _cells(self, local: Tensor, size: Sequence[float]) -> Tensor:
        """Places (..., 3) inside a window -> numbers of their cells."""
        last = torch.tensor(self._extents(size), device=local.device) - 1
        return torch.minimum((local / self.quantum).floor().long().clamp(min=0), last)

    def _grid_planes(self, grid: tuple[int, ...], device: torch.device) -> list[tuple[Plan, Tensor]]:
        places = coordinates(grid, device=device, dtype=torch.float64)
        planes: list[tuple[Plan, Tensor]] = []
        for size in self.sizes:
            whole = tuple(int(side) for side in size)
            # The first whole coordinate behind half a window.
            start = tuple((side + 1) // 2 % side if self.shifted else 0 for side in whole)
            plan = Windows(whole, start, shift_single=True).plan(grid, device=device)
            side = torch.tensor(size, device=device, dtype=places.dtype)
            local = (places + side / 2 if self.shifted else places) % side
            planes.append((plan, self._cells(local, size)))
        return planes

    def _points(self, x: Ragged) -> Tensor:
        if x.coords is None or x.coords.shape[1] != 3:
            given = "none" if x.coords is None else tuple(x.coords.shape)
            raise ValueError(f"TriPlaneWindowAttention: coordinates {given}; give three for each point, in voxels")
        if not bool(x.coords.isfinite().all()):
            raise ValueError("TriPlaneWindowAttention: coordinates with NaN or infinity; drop those points first")
        if not len(x.tokens):
            return x.tokens
        coords = x.coords.detach().double()
        own = torch.zeros_like(x.segment_ids()) if self.official else x.segment_ids()
        origin = coords.new_full((x.batch, 3), torch.inf)
        origin = origin.scatter_reduce_(0, own[:, None].expand(-1, 3), coords, "amin")
        from_origin = coords - origin[own]
        planes: list[tuple[Plan, Tensor]] = []
        for size in self.sizes:
            side = torch.tensor(size, device=coords.device, dtype=coords.dtype)
            moved = Ragged(x.tokens, x.offsets, from_origin + side / 2 if self.shifted else from_origin)
            (ids,), (corner,) = window_ids([moved], size)
            assert moved.coords is not None
            plan = group_plan(ids, ids, moved.coords, moved.coords, corner)
            planes.append((plan, self._cells(moved.coords - corner, size)))
        return self._mix(x.tokens[None], _over_voxels(coords.floor().long(), x), planes)[0]


class _Convolutions(nn.Module):
    """Half the channels from a point alone, half from its neighbourhood."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.point, self.point_norm = nn.Linear(dim, dim // 2, bias=False), _RowNorm(dim // 2)
        self.weight, self.norm = nn.Parameter(torch.empty(*_KERNEL, dim)), _RowNorm(dim)
        self.near, self.near_norm = nn.Linear(dim, dim // 2), _RowNorm(dim // 2)
        # A lone point keeps its variance.
        nn.init.normal_(self.weight, std=prod(_KERNEL) ** -0.5)
        for layer in (self.point, self.near):
            nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(self.near.bias)

    def forward(self, x: Tensor, convolve: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        near = self.near_norm(self.near(F.gelu(self.norm(convolve(x, self.weight)))))
        return torch.cat([self.point_norm(self.point(x)), near], -1)


class _RowNorm(nn.BatchNorm1d):
    """BatchNorm of (..., C) over all rows; a single row, which has no variance, takes the running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)
        if self.training and len(rows) < 2:
            return F.batch_norm(
                rows, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            ).view_as(x)
        return super().forward(rows).view_as(x)


def _over_grid(x: Tensor, weight: Tensor) -> Tensor:
    return depthwise(x, weight.movedim(-1, 0)[:, None])


def _over_voxels(voxels: Tensor, x: Ragged) -> Callable[[Tensor, Tensor], Tensor]:
    """The convolution over occupied voxels (N, 3); it takes and gives (1, N, C)."""
    low = voxels.amin(0)
    grid = tuple((voxels.amax(0) - low + 1).tolist())
    if x.batch * prod(n + 2 for n in grid) >= 2**63:
        raise ValueError(
            f"TriPlaneWindowAttention: points over {grid} voxels, more than int64 counts; take larger voxels"
        )
    key = x.segment_ids()
    for column, length in zip((voxels - low).unbind(1), grid, strict=True):
        key = key * length + column
    distinct, rows = torch.unique(key, return_inverse=True)
    pairs = submanifold_pairs(Sites.from_keys(distinct, grid, x.batch), _KERNEL, (1, 1, 1))
    counts = None if len(distinct) == len(rows) else torch.bincount(rows)[:, None]

    def convolve(features: Tensor, weight: Tensor) -> Tensor:
        sums = features.new_zeros(len(distinct), features.shape[-1]).index_add(0, rows, features[0])
        means = sums if counts is None else sums / counts
        return sparse_depthwise(means, weight, pairs).index_select(0, rows)[None]

    return convolve
