"""Swin Transformer (Liu et al. 2021): attention in windows, shifted by half in every second block.

    y = x + attention(norm(x)),   block(x) = y + mlp(norm(y))

Strides 4, 8, 16, 32; patches of 4 x 4 pixels, then of 2 x 2 tokens.

Decided: patches and windows at the border of a map that does not divide stay partial and a map that fits into one
window is not shifted, see `core.mixers.window`; `official=True` fills windows up and lets that attend, as the release's
code for segmentation does.  Its classification code shrinks the window to a smaller map, and the table with it; ours is
built for one window and works on any map.
"""

__all__ = ["Swin", "swin_base", "swin_blocks", "swin_small", "swin_tiny"]

from collections.abc import Sequence

from torch import nn

from apps.vision.backbones.base import Backbone, Stage, drop_paths, init_linears
from apps.vision.backbones.classifier import PoolHead
from core.blocks import Block
from core.channels import MLP
from core.mixers import WindowAttention
from core.resample import PatchEmbed, PatchMerging


class Swin(Backbone):
    """(B, channels, H, W) -> feature maps of width dim, 2 dim, 4 dim, ...

    Args:
        dim: width of the first level.
        depths: blocks in each level.
        heads: of the blocks of each level.
        window: side of the windows.
        channels: of the image.
        mlp_ratio: width of the MLPs' hidden layer over dim.
        bias: whether q, k and v have one.
        score_scale: factor of the scores; width of a head ** -0.5 by default.
        drop_path: share of samples whose branch is left out in the last block, rising evenly from 0.
        official: let what fills windows up attend, as the release does.
    """

    def __init__(
        self,
        dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        *,
        window: int = 7,
        channels: int = 3,
        mlp_ratio: float = 4.0,
        bias: bool = True,
        score_scale: float | None = None,
        drop_path: float = 0.2,
        official: bool = False,
    ) -> None:
        stages: list[Stage] = []
        for count, shares in zip(heads, drop_paths(drop_path, depths), strict=True):
            down: nn.Module = PatchEmbed(channels, dim, (4, 4), norm=nn.LayerNorm)
            if stages:
                down, dim = PatchMerging(dim, 2 * dim), 2 * dim
            blocks = swin_blocks(
                dim,
                count,
                window,
                shares,
                mlp_ratio=mlp_ratio,
                bias=bias,
                score_scale=score_scale,
                official=official,
            )
            stages.append(Stage(dim, 2 if stages else 4, down, blocks))
        super().__init__(stages)
        init_linears(self)

    def head(self, classes: int) -> nn.Module:
        return PoolHead(self.channels[-1], classes, norm_tokens=nn.LayerNorm(self.channels[-1]))


def swin_blocks(
    dim: int,
    heads: int,
    window: int,
    drop_path: Sequence[float],
    *,
    mlp_ratio: float = 4.0,
    bias: bool = True,
    score_scale: float | None = None,
    shifted: bool = True,
    official: bool = False,
) -> list[Block]:
    """The blocks of one level; arguments as of `Swin`.

    Args:
        drop_path: one share a block.
        shifted: whether every second block is.
    """
    blocks = []
    for number, share in enumerate(drop_path):
        start = window // 2 if shifted and number % 2 else 0
        mixer = WindowAttention(
            dim, heads, (window, window), shift=(start, start), bias=bias, scale=score_scale, official=official
        )
        blocks.append(Block(dim, mixer, MLP(dim, int(dim * mlp_ratio)), drop_path=share))
    return blocks


def swin_tiny(*, drop_path: float = 0.2, official: bool = False) -> Swin:
    """28.3 M parameters with 1000 classes."""
    return Swin(drop_path=drop_path, official=official)


def swin_small(*, drop_path: float = 0.3, official: bool = False) -> Swin:
    """49.6 M parameters with 1000 classes."""
    return Swin(depths=(2, 2, 18, 2), drop_path=drop_path, official=official)


def swin_base(*, window: int = 7, drop_path: float = 0.5, official: bool = False) -> Swin:
    """87.8 M parameters with 1000 classes; window 12 for images of 384 pixels."""
    return Swin(128, (2, 2, 18, 2), (4, 8, 16, 32), window=window, drop_path=drop_path, official=official)
