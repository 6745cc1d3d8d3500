"""Depthwise convolution of channels-last tokens: y_p,c = sum_o w_c,o x_(p+o),c + b_c, zeros beyond the border.

Shapes: x (B, *grid, C), weight (C, 1, *kernel), bias (C,) -> (B, *grid, C), for grids of rank 1 to 3.

Decided: the permuted view of tokens is channels-last memory already, so 2-D kernels and 1-D ones run on it without a
copy (1.6-9 times faster). Where a gradient is wanted, 1-D kernels longer than 7 take a contiguous (B, C, T) copy that
is padded first: the backward of the view falls off a cliff there, and padding inside that convolution is three times
slower. An even kernel reaches one token further to the right. Causal kernels end at the token itself.
"""

__all__ = ["depthwise", "depthwise_reference"]

from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_SHORT = 7


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, causal: bool = False) -> Tensor:
    """Depthwise convolution with as many tokens out as in.

    Raises:
        ValueError: for a causal kernel on a grid of rank above 1, where raster order has no rectangular past.
    """
    rank = x.ndim - 2
    kernel = weight.shape[2:]
    if causal and rank != 1:
        raise ValueError(f"depthwise: causal on a grid of rank {rank}; flatten it to a sequence first")
    view = x.movedim(-1, 1)
    trained = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    long = rank == 1 and kernel[0] > _SHORT and trained
    before = [size - 1 if causal else (size - 1) // 2 for size in kernel]
    after = [size - 1 - b for size, b in zip(kernel, before, strict=True)]
    padding: tuple[int, ...] = tuple(before)
    if before != after or long:
        sides = [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair]
        # Padding is applied to the tokens, so that the view below stays channels-last.
        view = F.pad(x, (0, 0, *sides)).movedim(-1, 1)
        padding = (0,) * rank
    channels = x.shape[-1]
    if long:
        y = F.conv1d(view.contiguous(), weight, bias, groups=channels)
    elif rank == 1:
        y = F.conv2d(view[:, :, None], weight[:, :, None], bias, padding=(0, *padding), groups=channels)[:, :, 0]
    elif rank == 2:
        y = F.conv2d(view, weight, bias, padding=padding, groups=channels)
    else:
        y = F.conv3d(view, weight, bias, padding=padding, groups=channels)
    return y.movedim(1, -1)


def depthwise_reference(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, causal: bool = False) -> Tensor:
    """The same as a sum over shifted copies."""
    grid, kernel = x.shape[1:-1], weight.shape[2:]
    before = [size - 1 if causal else (size - 1) // 2 for size in kernel]
    sides = [n for size, b in zip(reversed(kernel), reversed(before), strict=True) for n in (b, size - 1 - b)]
    wide = F.pad(x, (0, 0, *sides))
    y = torch.zeros_like(x)
    offsets: Any = product(*(range(size) for size in kernel))
    for offset in offsets:
        part = wide
        for axis, (start, length) in enumerate(zip(offset, grid, strict=True)):
            part = part.narrow(axis + 1, start, length)
        y = y + part * weight[:, 0][(slice(None), *offset)]
    return y if bias is None else y + bias
