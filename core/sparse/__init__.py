"""Tensors at the occupied sites of a grid, their convolutions and pooling.

tensor       Sites, SparseTensor: coordinates (b, z, y, x) sorted, with features
rulebook     which rows meet under which tap of a kernel, made once a set of sites
convolution  submanifold, strided, inverse, transposed, depthwise convolutions and pooling
grouping     windows: rows that stand in the same box of the grid
flattened    groups of equal size along a curve through windows
spconv       the same weights through spconv on CUDA
"""

__all__ = [
    "InverseConv",
    "Sites",
    "SparseAveragePool",
    "SparseConv",
    "SparseMaxPool",
    "SparseModule",
    "SparseTensor",
    "SubmanifoldConv",
    "SubmanifoldDepthwiseConv",
    "TransposedConv",
    "Windows",
    "windows",
]

from core.sparse.convolution import (
    InverseConv,
    SparseAveragePool,
    SparseConv,
    SparseMaxPool,
    SparseModule,
    SubmanifoldConv,
    SubmanifoldDepthwiseConv,
    TransposedConv,
)
from core.sparse.grouping import Windows, windows
from core.sparse.tensor import Sites, SparseTensor
