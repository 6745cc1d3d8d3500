"""CrossFormer (Wang et al. 2022) and CrossFormer++ (2023): short-distance and long-distance attention in turns.

    y = x + attention(norm(x)),   block(x) = y + mlp(norm(y))

Even blocks attend in windows, odd ones in windows of tokens `interval` apart; the scores get a bias that a small
network computes from differences of positions.  Patches of several sizes (4 to 32 pixels, then 2 and 4 tokens) share
their centres, at strides 4, 8, 16, 32.  CrossFormer++ has larger windows, and every third block is followed by
norm(depthwise 3 x 3) without a residual, which keeps amplitudes from growing.

Decided: any size; groups at the border are smaller, and a short axis is one group, see `core.mixers.strided_attention`.
"""

__all__ = [
    "Cooling",
    "CrossFormer",
    "crossformer_base",
    "crossformer_block",
    "crossformer_large",
    "crossformer_plus_base",
    "crossformer_plus_small",
    "crossformer_small",
    "crossformer_tiny",
]

from collections.abc import Sequence

from torch import Tensor, nn

from apps.vision.backbones.base import Backbone, Stage, drop_paths, init_linears
from apps.vision.backbones.classifier import PoolHead
from apps.vision.backbones.parts import Down
from core.blocks import Block
from core.channels import MLP
from core.mixers import StridedAttention
from core.mixers.convolution import DepthwiseConv
from core.positions import DynamicBias
from core.resample import CrossScaleEmbed


class Cooling(nn.Module):
    """norm(depthwise 3 x 3 of x), without a residual.

    Args:
        dim: width of the tokens.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.local = DepthwiseConv(dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, H, W, dim)."""
        return self.norm(self.local(x, mask=mask))


class CrossFormer(Backbone):
    """(B, channels, H, W) -> feature maps of width dim, 2 dim, 4 dim, ...

    Args:
        dim: width of the first level.
        depths: blocks in each level.
        heads: of the blocks of each level.
        windows: tokens a side of a group, in each level.
        intervals: distance of two tokens of a group in odd blocks, in each level.
        patches: sides of the stem's patches, the first their stride too.
        merges: sides of the patches between levels.
        channels: of the image.
        mlp_ratios: width of the MLPs' hidden layer over dim, in each level.
        bias: whether q, k and v have one.
        score_scale: factor of the scores; width of a head ** -0.5 by default.
        cooled: whether `Cooling` follows every third block of a level but its last.
        drop_path: share of samples whose branch is left out in the last block, rising evenly from 0.
    """

    def __init__(
        self,
        dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        *,
        windows: Sequence[int] = (7, 7, 7, 7),
        intervals: Sequence[int] = (8, 4, 2, 1),
        patches: Sequence[int] = (4, 8, 16, 32),
        merges: Sequence[Sequence[int]] = ((2, 4), (2, 4), (2, 4)),
        channels: int = 3,
        mlp_ratios: Sequence[float] = (4, 4, 4, 4),
        bias: bool = True,
        score_scale: float | None = None,
        cooled: bool = False,
        drop_path: float = 0.2,
    ) -> None:
        stages: list[Stage] = []
        levels = zip(heads, windows, intervals, mlp_ratios, drop_paths(drop_path, depths), strict=True)
        for count, window, interval, ratio, shares in levels:
            down: nn.Module = CrossScaleEmbed(channels, dim, patches, patches[0], norm=nn.LayerNorm)
            if stages:
                down = Down(CrossScaleEmbed(dim, 2 * dim, merges[len(stages) - 1], 2), nn.LayerNorm(dim))
                dim = 2 * dim
            blocks: list[nn.Module] = []
            for number, share in enumerate(shares):
                distance = interval if number % 2 else 1
                blocks.append(
                    crossformer_block(
                        dim,
                        count,
                        window,
                        distance,
                        mlp_ratio=ratio,
                        bias=bias,
                        score_scale=score_scale,
                        drop_path=share,
                    )
                )
                if cooled and number % 3 == 2 and number < len(shares) - 1:
                    blocks.append(Cooling(dim))
            stages.append(Stage(dim, 2 if stages else patches[0], down, blocks))
        super().__init__(stages)
        init_linears(self)

    def head(self, classes: int) -> nn.Module:
        return PoolHead(self.channels[-1], classes, norm_tokens=nn.LayerNorm(self.channels[-1]))


def crossformer_block(
    dim: int,
    heads: int,
    window: int,
    interval: int,
    *,
    mlp_ratio: float = 4.0,
    bias: bool = True,
    score_scale: float | None = None,
    drop_path: float = 0.0,
) -> Block:
    """Attention at a distance (1: none) and an MLP; arguments as of `CrossFormer`."""
    mixer = StridedAttention(
        dim,
        heads,
        (window, window),
        (interval, interval),
        bias=bias,
        make_score_bias=lambda heads, window: DynamicBias(heads, dim // 4 // 4),
        scale=score_scale,
    )
    return Block(dim, mixer, MLP(dim, int(dim * mlp_ratio)), drop_path=drop_path)


def crossformer_tiny(*, drop_path: float = 0.1) -> CrossFormer:
    """27.8 M parameters with 1000 classes."""
    return CrossFormer(64, (1, 1, 8, 6), (2, 4, 8, 16), drop_path=drop_path)


def crossformer_small(*, drop_path: float = 0.2) -> CrossFormer:
    """30.7 M parameters with 1000 classes."""
    return CrossFormer(drop_path=drop_path)


def crossformer_base(*, drop_path: float = 0.3) -> CrossFormer:
    """52.0 M parameters with 1000 classes."""
    return CrossFormer(depths=(2, 2, 18, 2), drop_path=drop_path)


def crossformer_large(*, drop_path: float = 0.5) -> CrossFormer:
    """92.0 M parameters with 1000 classes."""
    return CrossFormer(128, (2, 2, 18, 2), (4, 8, 16, 32), drop_path=drop_path)


def crossformer_plus_small(*, drop_path: float = 0.2) -> CrossFormer:
    """CrossFormer++: 23.3 M parameters with 1000 classes."""
    return _plus(64, (2, 4, 8, 16), drop_path)


def crossformer_plus_base(*, drop_path: float = 0.3) -> CrossFormer:
    """CrossFormer++: 52.0 M parameters with 1000 classes."""
    return _plus(96, (3, 6, 12, 24), drop_path)


def _plus(dim: int, heads: Sequence[int], drop_path: float) -> CrossFormer:
    return CrossFormer(
        dim,
        (2, 2, 18, 2),
        heads,
        windows=(4, 4, 14, 7),
        intervals=(4, 2, 1, 1),
        cooled=True,
        drop_path=drop_path,
    )
