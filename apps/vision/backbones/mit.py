"""Mix Transformer, the encoder of SegFormer (Xie et al. 2021): attention to reduced keys, position from convolutions.

    y = x + attention(norm(x)),   block(x) = y + mix(norm(y)),   mix = linear, depthwise 3 x 3, GELU, linear

Strides 4, 8, 16, 32 by overlapping convolutions; a norm ends every level.

Decided: keys are made of all tokens; `official=True` leaves out the rows and columns that do not fill a patch of the
reduction, as the release does.
"""

__all__ = ["MiT", "mit_b0", "mit_b1", "mit_b2", "mit_b3", "mit_b4", "mit_b5"]

from collections.abc import Sequence
from math import prod, sqrt

from torch import nn

from apps.vision.backbones.base import Backbone, Stage, drop_paths, init_linears
from apps.vision.backbones.classifier import PoolHead
from apps.vision.backbones.parts import layer_norm
from core.blocks import Block
from core.channels import ConvMLP
from core.mixers import ReducedAttention
from core.resample import ConvEmbed


class MiT(Backbone):
    """(B, channels, H, W) -> feature maps, normed.

    Args:
        dims: width of each level.
        depths: blocks in each level.
        heads: of the blocks of each level.
        reductions: side of the patches that keys are made of, in each level.
        mlp_ratios: width of the hidden layers over dim, in each level.
        channels: of the image.
        bias: whether q, k and v have one.
        score_scale: factor of the scores; width of a head ** -0.5 by default.
        drop_path: share of samples whose branch is left out in the last block, rising evenly from 0.
        official: leave borders out of the keys, as the release does.
    """

    def __init__(
        self,
        dims: Sequence[int] = (64, 128, 320, 512),
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (1, 2, 5, 8),
        *,
        reductions: Sequence[int] = (8, 4, 2, 1),
        mlp_ratios: Sequence[float] = (4, 4, 4, 4),
        channels: int = 3,
        bias: bool = True,
        score_scale: float | None = None,
        drop_path: float = 0.1,
        official: bool = False,
    ) -> None:
        stages: list[Stage] = []
        levels = zip(dims, heads, reductions, mlp_ratios, drop_paths(drop_path, depths), strict=True)
        for dim, count, reduction, ratio, shares in levels:
            kernel, stride = (3, 2) if stages else (7, 4)
            before = stages[-1].dim if stages else channels
            down = ConvEmbed(before, dim, (kernel, kernel), (stride, stride), norm=nn.LayerNorm)
            blocks = [
                Block(
                    dim,
                    ReducedAttention(
                        dim, count, (reduction, reduction), bias=bias, scale=score_scale, official=official
                    ),
                    ConvMLP(dim, int(dim * ratio)),
                    norm=layer_norm,
                    drop_path=share,
                )
                for share in shares
            ]
            stages.append(Stage(dim, stride, down, blocks, layer_norm(dim)))
        super().__init__(stages)
        init_linears(self)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                fan = prod(part.kernel_size) * part.out_channels // part.groups
                nn.init.normal_(part.weight, std=sqrt(2 / fan))
                nn.init.zeros_(part.bias)

    def head(self, classes: int) -> nn.Module:
        return PoolHead(self.channels[-1], classes)


def mit_b0(*, drop_path: float = 0.1, official: bool = False) -> MiT:
    """3.3 M parameters without a head, as below."""
    return MiT((32, 64, 160, 256), drop_path=drop_path, official=official)


def mit_b1(*, drop_path: float = 0.1, official: bool = False) -> MiT:
    """13.2 M."""
    return MiT(drop_path=drop_path, official=official)


def mit_b2(*, drop_path: float = 0.1, official: bool = False) -> MiT:
    """24.2 M."""
    return MiT(depths=(3, 4, 6, 3), drop_path=drop_path, official=official)


def mit_b3(*, drop_path: float = 0.1, official: bool = False) -> MiT:
    """44.1 M."""
    return MiT(depths=(3, 4, 18, 3), drop_path=drop_path, official=official)


def mit_b4(*, drop_path: float = 0.1, official: bool = False) -> MiT:
    """60.8 M."""
    return MiT(depths=(3, 8, 27, 3), drop_path=drop_path, official=official)


def mit_b5(*, drop_path: float = 0.1, official: bool = False) -> MiT:
    """81.4 M."""
    return MiT(depths=(3, 6, 40, 3), drop_path=drop_path, official=official)
