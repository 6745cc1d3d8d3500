"""What changes the number of tokens: `(x, mask) -> Resampled(tokens, mask, map)`, where the map leads back.

A grid that does not divide is filled up with zeros at the end of each axis, so every size works and nothing is lost; a
coarse token is real if any of its fine ones is.
"""

__all__ = ["ConvEmbed", "CrossScaleEmbed", "PatchEmbed", "PatchMap", "PatchMerging", "Resampled", "TimeReduction"]

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.layout import grid_of, zero_padding


class PatchMap(NamedTuple):
    """Which fine tokens became which coarse one.

    Attributes:
        grid: sizes of the fine grid.
        patch: fine tokens a coarse one, an axis.
    """

    grid: tuple[int, ...]
    patch: tuple[int, ...]

    def restore(self, x: Tensor) -> Tensor:
        """Give every fine token its coarse one: (B, *coarse, C) -> (B, *grid, C)."""
        for axis, (size, length) in enumerate(zip(self.patch, self.grid, strict=True)):
            x = x.repeat_interleave(size, dim=axis + 1).narrow(axis + 1, 0, length)
        return x

    def unfold(self, x: Tensor) -> Tensor:
        """Cut every coarse token into its fine ones: (B, *coarse, *patch * C as one axis) -> (B, *grid, C)."""
        rank = len(self.patch)
        coarse = x.shape[1:-1]
        x = x.unflatten(-1, (*self.patch, -1))
        order = [1 + i + part * rank for i in range(rank) for part in (0, 1)]
        x = x.permute(0, *order, 2 * rank + 1)
        x = x.reshape(len(x), *(n * p for n, p in zip(coarse, self.patch, strict=True)), x.shape[-1])
        return x[(slice(None), *(slice(0, length) for length in self.grid))]


class Resampled(NamedTuple):
    """Coarse tokens (B, *coarse, C'), their mask (B, *coarse) or None, and the way back."""

    tokens: Tensor
    mask: Tensor | None
    map: PatchMap


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens by one linear map, kept as a convolution with stride = kernel.

    Args:
        in_channels: width of the fine tokens (pixels, samples).
        dim: width of the coarse tokens.
        patch: fine tokens a patch, an axis; its length is the rank of the grids.
        norm: makes a norm of the result from its width.
        bias: whether the linear map has one.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        patch: Sequence[int],
        *,
        norm: Callable[[int], nn.Module] | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.patch = tuple(patch)
        self.proj = _CONVOLUTIONS[len(self.patch) - 1](in_channels, dim, self.patch, self.patch, bias=bias)
        self.norm = nn.Identity() if norm is None else norm(dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Resampled:
        grid = _grid_of_rank(x, self.patch, self)
        x = _filled(zero_padding(x, mask), self.patch)
        tokens = self.norm(self.proj(x.movedim(-1, 1)).movedim(1, -1))
        return Resampled(tokens, _coarse_mask(mask, self.patch), PatchMap(grid, self.patch))


class PatchMerging(nn.Module):
    """Concatenate the tokens of each patch, norm, linear (Swin, Liu et al. 2021).

    The patch's tokens follow each other with the first axis running fastest, as in the release.

    Args:
        dim: width of the fine tokens.
        out_dim: width of the coarse tokens; Swin takes 2 * dim.
        patch: fine tokens a patch, an axis.
        norm: makes the norm over the concatenated channels.
    """

    def __init__(
        self,
        dim: int,
        out_dim: int,
        patch: Sequence[int] = (2, 2),
        *,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
    ) -> None:
        super().__init__()
        self.patch = tuple(patch)
        self.norm = norm(dim * prod(self.patch))
        self.reduction = nn.Linear(dim * prod(self.patch), out_dim, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Resampled:
        grid = _grid_of_rank(x, self.patch, self)
        rank = len(grid)
        x = _filled(zero_padding(x, mask), self.patch)
        x = x.reshape(len(x), *(n for s, p in zip(x.shape[1:-1], self.patch, strict=True) for n in (s // p, p)), -1)
        coarse = [1 + 2 * axis for axis in range(rank)]
        inside = [2 + 2 * axis for axis in reversed(range(rank))]
        x = x.permute(0, *coarse, *inside, 2 * rank + 1).flatten(rank + 1)
        return Resampled(self.reduction(self.norm(x)), _coarse_mask(mask, self.patch), PatchMap(grid, self.patch))


class ConvEmbed(nn.Module):
    """Overlapping patches by a strided convolution (SegFormer, PVT v2); the grid shrinks to ceil(size / stride).

    Args:
        in_channels: width of the fine tokens.
        dim: width of the coarse tokens.
        kernel: kernel size an axis, odd.
        stride: fine tokens a coarse one, an axis.
        norm: makes a norm of the result from its width.
        bias: whether the convolution has one.
        before: zeros in front of each axis; half a kernel by default.
        floor: as many zeros behind as in front, as releases have it, whatever size the grid then has.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        *,
        norm: Callable[[int], nn.Module] | None = None,
        bias: bool = True,
        before: Sequence[int] | None = None,
        floor: bool = False,
    ) -> None:
        super().__init__()
        if len(kernel) != len(stride) or any(k % 2 == 0 for k in kernel):
            raise ValueError(f"ConvEmbed: kernel {kernel} with stride {stride}; give odd kernels and one stride each")
        self.stride = tuple(stride)
        self.floor = floor
        padding = tuple(k // 2 for k in kernel) if before is None else tuple(before)
        self.proj = _CONVOLUTIONS[len(self.stride) - 1](
            in_channels, dim, tuple(kernel), self.stride, padding, bias=bias
        )
        self.norm = nn.Identity() if norm is None else norm(dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Resampled:
        grid = _grid_of_rank(x, self.stride, self)
        # Zeros that the last patches of ceil(size / stride) lack beyond those that the convolution puts there.
        sizes = zip(grid, self.stride, self.proj.kernel_size, self.proj.padding, strict=True)
        short = [max((-(-size // s) - 1) * s + k - 2 * p - size, 0) for size, s, k, p in sizes]
        wide = zero_padding(x, mask)
        if any(short) and not self.floor:
            wide = F.pad(wide, (0, 0, *(n for side in reversed(short) for n in (0, side))))
        tokens = self.norm(self.proj(wide.movedim(-1, 1)).movedim(1, -1))
        coarse = _coarse_mask(mask, self.stride)
        if coarse is not None and self.floor:
            coarse = coarse[(slice(None), *(slice(0, size) for size in tokens.shape[1:-1]))]
        return Resampled(tokens, coarse, PatchMap(grid, self.stride))


class CrossScaleEmbed(nn.Module):
    """Patches of several sizes around the same centres, side by side on channels (CrossFormer, Wang et al. 2022).

    The smallest size has half of the channels, the next a quarter, ...; the last two have the same number.

    Args:
        in_channels: width of the fine tokens.
        dim: width of the coarse tokens.
        kernels: sides of the patches, each as much above the stride as is even.
        stride: fine tokens a coarse one, on every axis of a map.
        norm: makes a norm of the result from its width.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        kernels: Sequence[int],
        stride: int,
        *,
        norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if any(k < stride or (k - stride) % 2 for k in kernels):
            raise ValueError(
                f"CrossScaleEmbed: kernels {tuple(kernels)} with stride {stride}; give sizes that reach as far "
                "over the stride on both sides"
            )
        self.stride = stride
        last = len(kernels) - 1
        widths = [dim // 2 ** min(i + 1, last) for i in range(len(kernels))]
        self.projs = nn.ModuleList(
            nn.Conv2d(in_channels, width, k, stride, (k - stride) // 2)
            for width, k in zip(widths, kernels, strict=True)
        )
        self.norm = nn.Identity() if norm is None else norm(sum(widths))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Resampled:
        """x (B, H, W, in_channels)."""
        patch = (self.stride, self.stride)
        grid = _grid_of_rank(x, patch, self)
        wide = _filled(zero_padding(x, mask), patch).movedim(-1, 1)
        tokens = torch.cat([proj(wide) for proj in self.projs], 1).movedim(1, -1)
        return Resampled(self.norm(tokens), _coarse_mask(mask, patch), PatchMap(grid, patch))


class TimeReduction(nn.Module):
    """A strided depthwise convolution and a linear layer over sequences (Squeezeformer, Kim et al. 2022).

        y_t = W sum_o w_o x_(stride t + o) + b,    o = 0 .. kernel - 1, silence behind the end

    Decided: ceil(T / stride) tokens come of T; in the release the last of an odd sequence is 0 if it is the longest of
    its batch, and what it should be otherwise.

    Args:
        dim: width of the tokens.
        kernel: tokens that one coarse token reads, from its own first one on.
        stride: tokens a coarse one.
    """

    def __init__(self, dim: int, *, kernel: int = 5, stride: int = 2) -> None:
        super().__init__()
        if kernel < stride:
            raise ValueError(
                f"TimeReduction: kernel {kernel} with stride {stride} leaves tokens out; give a longer one"
            )
        self.stride = stride
        self.conv = nn.Conv1d(dim, dim, kernel, stride, groups=dim)
        self.linear = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Resampled:
        """x (B, T, dim), mask (B, T)."""
        grid = _grid_of_rank(x, (self.stride,), self)
        behind = self.conv.kernel_size[0] - self.stride + -grid[0] % self.stride
        wide = F.pad(zero_padding(x, mask).mT, (0, behind))
        coarse = _coarse_mask(mask, (self.stride,))
        return Resampled(zero_padding(self.linear(self.conv(wide).mT), coarse), coarse, PatchMap(grid, (self.stride,)))


_CONVOLUTIONS: tuple[Any, ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _grid_of_rank(x: Tensor, patch: tuple[int, ...], owner: nn.Module) -> tuple[int, ...]:
    grid = grid_of(x)
    if len(grid) != len(patch):
        raise ValueError(f"{type(owner).__name__}: patch {patch} for a grid {grid}; give one patch size a grid axis")
    return grid


def _filled(x: Tensor, patch: tuple[int, ...]) -> Tensor:
    """x (B, *grid, ...) with each axis filled up with zeros to a multiple of the patch."""
    short = [-length % size for length, size in zip(x.shape[1:], patch, strict=False)]
    if not any(short):
        return x
    sides = [n for s in reversed(short) for n in (0, s)]
    return F.pad(x, (*(0, 0) * (x.ndim - 1 - len(patch)), *sides))


def _coarse_mask(mask: Tensor | None, patch: tuple[int, ...]) -> Tensor | None:
    if mask is None:
        return None
    mask = _filled(mask, patch)
    for axis, size in enumerate(patch):
        mask = mask.unflatten(axis + 1, (-1, size)).any(axis + 2)
    return mask
