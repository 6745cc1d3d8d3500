"""What sparse tensors are tested with: random ones, and dense convolutions of the same."""

__all__ = ["TRANSPOSED", "at", "cloud", "dense_conv", "gradients"]

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from core.sparse import Sites, SparseTensor

CONV: dict[int, Callable] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED: dict[int, Callable] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def cloud(
    counts: Sequence[int], grid: Sequence[int], channels: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[SparseTensor, Tensor]:
    """A tensor with so many random sites a sample, made from shuffled rows; and the features of these, leaves."""
    random = torch.Generator().manual_seed(seed)
    rows = []
    for sample, count in enumerate(counts):
        flat = torch.randperm(prod(grid), generator=random)[:count]
        columns = torch.unravel_index(flat, tuple(grid))
        rows.append(torch.stack([torch.full_like(flat, sample), *columns], 1))
    coords = torch.cat(rows)
    coords = coords[torch.randperm(len(coords), generator=random)]
    features = torch.randn(len(coords), channels, generator=random, dtype=dtype).requires_grad_()
    return SparseTensor.of(features, coords, grid, len(counts)), features


def at(dense: Tensor, sites: Sites) -> Tensor:
    """Rows (N, C) of tokens (B, *grid, C)."""
    return dense[tuple(sites.coords.unbind(1))]


def dense_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1
) -> Tensor:
    """Convolution of tokens (B, *grid, C) with a weight (out, *kernel, in)."""
    convolution = CONV[x.ndim - 2]
    return convolution(x.movedim(-1, 1), weight.movedim(-1, 1), bias, stride, padding, dilation).movedim(1, -1)


def gradients(y: Tensor, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of a fixed random functional of y."""
    probe = torch.randn(y.shape, generator=torch.Generator().manual_seed(9), dtype=y.dtype)
    return torch.autograd.grad((y * probe).sum(), leaves, retain_graph=True)
