"""Peers of sparse convolutions: spconv's CPU kernels (a real package), a dense convolution, and a depthwise convolution
over a table of the neighbours of every voxel under every tap, as ScatterFormer's release keeps it (transcribed)."""

__all__ = ["SpconvPairs", "dense", "masked_table", "table_by_taps", "table_of"]

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from core.sparse import Sites, SparseTensor
from core.sparse.rulebook import submanifold_pairs


class SpconvPairs:
    """Pairs of a submanifold convolution by spconv, given its coordinates in its own type.

    Args:
        sites: where.
        kernel: sizes.
    """

    def __init__(self, sites: Sites, kernel: tuple[int, ...]) -> None:
        from spconv.core import ConvAlgo
        from spconv.pytorch import ops

        self.build: Any = ops.get_indice_pairs
        self.coords, self.batch_size, self.grid = sites.coords.int().contiguous(), sites.batch_size, list(sites.grid)
        ones, zeros = [1] * len(kernel), [0] * len(kernel)
        sizes = [list(kernel), ones, [k // 2 for k in kernel], ones, zeros]
        self.arguments = (self.coords, self.batch_size, self.grid, ConvAlgo.Native, *sizes, True)

    def __call__(self) -> object:
        return self.build(*self.arguments)


def dense(x: Tensor, weight: Tensor) -> Tensor:
    """Convolution of a map (B, in, *grid) with a weight (out, *kernel, in), extent kept."""
    return F.conv3d(x, weight.movedim(-1, 1), padding=[k // 2 for k in weight.shape[1:-1]])


def table_of(sites: Sites, kernel: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Neighbours (taps, N) under each tap, and whether there is one; row 0 stands where there is none."""
    pairs = submanifold_pairs(sites, kernel, (1,) * len(kernel))
    table = torch.zeros(len(pairs.taps), len(sites), dtype=torch.int64)
    there = torch.zeros(table.shape, dtype=torch.bool)
    for tap, source, target in pairs.taps:
        table[tap, slice(None) if target is None else target] = torch.arange(len(sites)) if source is None else source
        there[tap, slice(None) if target is None else target] = True
    return table, there


def masked_table(x: SparseTensor, weight: Tensor, table: Tensor, there: Tensor) -> Tensor:
    """Depthwise convolution: all neighbours of all voxels, 0 for those that are not there, times the weights."""
    rows = torch.where(there[..., None], x.features[table], 0)
    return (rows * weight.flatten(0, -2)[:, None]).sum(0)


def table_by_taps(x: SparseTensor, weight: Tensor, table: Tensor, there: Tensor) -> Tensor:
    """The same a tap at a time, which stays in the cache."""
    y = torch.zeros_like(x.features)
    for rows, mask, tap in zip(table, there.to(x.features.dtype), weight.flatten(0, -2), strict=True):
        y += x.features.index_select(0, rows) * mask[:, None] * tap
    return y
