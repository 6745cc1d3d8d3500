"""Bird's-eye-view backbones: tokens (B, Y, X, C) in and out, dense 2-D convolutions inside.

    BEVBackbone  levels of ever wider strides, all brought back to the first one's extent and concatenated:
                 SECOND and PointPillars (PlainLevel), its residual variant (ResidualLevel), the neck of FlatFormer
                 (AddingLevel: SECOND and SECONDFPN of mmdet3d, `residual=True`)
    CascadeDED   dense encoder-decoders in a row (HEDNet, Zhang et al. 2023; ScatterFormer)

Norms have eps 1e-3 and momentum 0.01, convolutions no bias.

Decided: a level that overshoots an odd map by a line is cut to it, where the releases stop with an error.
"""

__all__ = ["AddingLevel", "BEVBackbone", "CascadeDED", "PlainLevel", "ResidualLevel"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from apps.pointcloud.models.layers import (
    BasicBlock,
    as_map,
    as_tokens,
    conv_norm,
    initialise_maps,
    like,
    map_norm,
)


class PlainLevel(nn.Sequential):
    """A strided convolution, then `depth` more, each with norm and ReLU."""

    def __init__(self, dim: int, out_dim: int, depth: int, stride: int) -> None:
        super().__init__(conv_norm(dim, out_dim, stride), *(conv_norm(out_dim, out_dim) for _ in range(depth)))


class AddingLevel(PlainLevel):
    """A `PlainLevel` whose every convolution adds its input where the shapes agree, the strided one too."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            y = layer(x)
            x = y + x if y.shape == x.shape else y
        return x


class ResidualLevel(nn.Sequential):
    """A strided residual block with a projected shortcut, then `depth` more."""

    def __init__(self, dim: int, out_dim: int, depth: int, stride: int) -> None:
        blocks = (BasicBlock(out_dim, out_dim) for _ in range(depth))
        super().__init__(BasicBlock(dim, out_dim, stride, project=True), *blocks)


class BEVBackbone(nn.Module):
    """Levels one after the other, their outputs at one extent side by side.

    Args:
        dim: channels of the input.
        dims: channels of the levels.
        depths: layers of each behind its strided one.
        strides: of each against the level before.
        up_dims: channels that each contributes to the output.
        up_strides: factors that bring each to the output's extent; below 1 (nuScenes pillars: 0.5) they shrink.
        level: makes one from (channels in, channels out, depth, stride).

    Raises:
        ValueError: lists of unequal length.
    """

    def __init__(
        self,
        dim: int,
        dims: Sequence[int] = (128, 256),
        depths: Sequence[int] = (5, 5),
        strides: Sequence[int] = (1, 2),
        up_dims: Sequence[int] = (256, 256),
        up_strides: Sequence[float] = (1, 2),
        level: Callable[[int, int, int, int], nn.Module] = PlainLevel,
    ) -> None:
        super().__init__()
        if len({len(sizes) for sizes in (dims, depths, strides, up_dims, up_strides)}) != 1:
            raise ValueError(
                f"BEVBackbone: dims {dims}, depths {depths}, strides {strides}, up_dims {up_dims} and up_strides "
                f"{up_strides} differ in length; give one number a level"
            )
        self.out_dim = sum(up_dims)
        self.levels, self.ups = nn.ModuleList(), nn.ModuleList()
        for out, depth, stride, up_dim, factor in zip(dims, depths, strides, up_dims, up_strides, strict=True):
            self.levels.append(level(dim, out, depth, stride))
            self.ups.append(_up(out, up_dim, factor))
            dim = out

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, Y, X, dim) -> (B, Y', X', sum of `up_dims`), Y' = Y over the first level's stride and factor."""
        y, outputs = as_map(x), []
        for level, up in zip(self.levels, self.ups, strict=True):
            y = level(y)
            outputs.append(up(y))
        return as_tokens(torch.cat([like(output, outputs[0]) for output in outputs], 1))


def _up(dim: int, out_dim: int, factor: float) -> nn.Sequential:
    conv: nn.Module
    if factor >= 1:
        # Stride 1 as well, where it is a convolution of kernel 1 whose weights are stored the other way round.
        conv = nn.ConvTranspose2d(dim, out_dim, round(factor), round(factor), bias=False)
    else:
        conv = nn.Conv2d(dim, out_dim, round(1 / factor), round(1 / factor), bias=False)
    return nn.Sequential(conv, map_norm(out_dim), nn.ReLU())


class _EncoderDecoder(nn.Module):
    """Residual levels down, transposed convolutions up; norm(up + skip) at every level."""

    def __init__(self, dim: int, out_dim: int, depths: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.encoder = nn.ModuleList()
        for level, (depth, stride) in enumerate(zip(depths, strides, strict=True)):
            blocks = [BasicBlock(out_dim, out_dim) for _ in range(depth)]
            if level or dim != out_dim:
                blocks.insert(0, BasicBlock(dim, out_dim, stride, project=True))
            self.encoder.append(nn.Sequential(*blocks))
            dim = out_dim
        # From the lowest level up.
        self.decoder = nn.ModuleList(_up(dim, dim, stride) for stride in reversed(strides[1:]))
        self.norms = nn.ModuleList(map_norm(dim) for _ in strides[1:])
        initialise_maps(self)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for level in self.encoder:
            x = level(x)
            kept.append(x)
        for up, norm, skip in zip(self.decoder, self.norms, kept[-2::-1], strict=True):
            x = norm(like(up(x), skip) + skip)
        return x


class CascadeDED(nn.Module):
    """Dense encoder-decoders in a row.

    Args:
        dim: channels of the input.
        out_dim: channels of all levels.
        depth: number of encoder-decoders.
        depths: residual blocks of each level, besides the strided one.
        strides: of each level against the one before.
    """

    def __init__(
        self,
        dim: int,
        out_dim: int = 128,
        depth: int = 4,
        depths: Sequence[int] = (2, 1, 1),
        strides: Sequence[int] = (1, 2, 2),
    ) -> None:
        super().__init__()
        self.out_dim = out_dim
        widths = [dim] + [out_dim] * (depth - 1)
        self.layers = nn.Sequential(*(_EncoderDecoder(width, out_dim, depths, strides) for width in widths))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, Y, X, dim) -> (B, Y, X, out_dim)."""
        return as_tokens(self.layers(as_map(x)))
