"""CSWin Transformer (Dong et al. 2022): attention in crossing stripes that grow from level to level.

    y = x + stripes(norm(x)),   block(x) = y + mlp(norm(y))

Strides 4, 8, 16, 32 by overlapping convolutions; the last level attends to the whole map.

Decided: the release's stem gives floor((size + 1) / 4) tokens, and its stripes are filled up at both ends of the map
with zeros that attend; here sizes are rounded up and stripes stay partial. `official=True` reproduces the release.
"""

__all__ = ["CSWin", "cswin_base", "cswin_block", "cswin_small", "cswin_tiny"]

from collections.abc import Sequence

from torch import nn

from apps.vision.backbones.base import Backbone, Stage, drop_paths, init_linears
from apps.vision.backbones.classifier import PoolHead
from core.blocks import Block
from core.channels import MLP
from core.mixers import StripeAttention
from core.resample import ConvEmbed


class CSWin(Backbone):
    """(B, channels, H, W) -> feature maps of width dim, 2 dim, 4 dim, ...

    Args:
        dim: width of the first level.
        depths: blocks in each level.
        heads: of the blocks of each level.
        stripes: width of the stripes in each level; None = the whole map.
        channels: of the image.
        mlp_ratio: width of the MLPs' hidden layer over dim.
        bias: whether q, k and v have one.
        score_scale: factor of the scores; width of a head ** -0.5 by default.
        drop_path: share of samples whose branch is left out in the last block, rising evenly from 0.
        official: sizes, and zeros that attend, as the release has them.
    """

    def __init__(
        self,
        dim: int = 64,
        depths: Sequence[int] = (1, 2, 21, 1),
        heads: Sequence[int] = (2, 4, 8, 16),
        *,
        stripes: Sequence[int | None] = (1, 2, 7, None),
        channels: int = 3,
        mlp_ratio: float = 4.0,
        bias: bool = True,
        score_scale: float | None = None,
        drop_path: float = 0.2,
        official: bool = False,
    ) -> None:
        stages: list[Stage] = []
        for count, stripe, shares in zip(heads, stripes, drop_paths(drop_path, depths), strict=True):
            if stages:
                down = ConvEmbed(dim, 2 * dim, (3, 3), (2, 2), norm=nn.LayerNorm)
                dim = 2 * dim
            else:
                down = ConvEmbed(channels, dim, (7, 7), (4, 4), norm=nn.LayerNorm, before=(2, 2), floor=official)
            blocks = [
                cswin_block(
                    dim,
                    count,
                    stripe,
                    mlp_ratio=mlp_ratio,
                    bias=bias,
                    score_scale=score_scale,
                    drop_path=share,
                    official=official,
                )
                for share in shares
            ]
            stages.append(Stage(dim, 2 if stages else 4, down, blocks))
        super().__init__(stages)
        init_linears(self)

    def head(self, classes: int) -> nn.Module:
        return PoolHead(self.channels[-1], classes, norm_tokens=nn.LayerNorm(self.channels[-1]))


def cswin_block(
    dim: int,
    heads: int,
    stripe: int | None,
    *,
    mlp_ratio: float = 4.0,
    bias: bool = True,
    score_scale: float | None = None,
    drop_path: float = 0.0,
    official: bool = False,
) -> Block:
    """Attention in stripes and an MLP; arguments as of `CSWin`."""
    mixer = StripeAttention(dim, heads, stripe, bias=bias, scale=score_scale, official=official)
    return Block(dim, mixer, MLP(dim, int(dim * mlp_ratio)), drop_path=drop_path)


def cswin_tiny(*, drop_path: float = 0.2, official: bool = False) -> CSWin:
    """22.3 M parameters with 1000 classes."""
    return CSWin(drop_path=drop_path, official=official)


def cswin_small(*, drop_path: float = 0.4, official: bool = False) -> CSWin:
    """34.6 M parameters with 1000 classes."""
    return CSWin(depths=(2, 4, 32, 2), drop_path=drop_path, official=official)


def cswin_base(
    *, stripes: Sequence[int | None] = (1, 2, 7, None), drop_path: float = 0.5, official: bool = False
) -> CSWin:
    """77.4 M parameters with 1000 classes; stripes 1, 2, 12 for images of 384 pixels."""
    return CSWin(96, (2, 4, 32, 2), (4, 8, 16, 32), stripes=stripes, drop_path=drop_path, official=official)
