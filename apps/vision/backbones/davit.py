"""DaViT (Ding et al. 2022): attention between tokens of a window, then between channels of a group, in turns.

    y = p1(x) + mix(norm(p1(x))),   block(x) = p2(y) + mlp(norm(p2(y))),   p(x) = x + depthwise 3 x 3 of x

Strides 4, 8, 16, 32: an overlapping convolution, then norm and convolutions of 2 x 2.

Decided: windows at the border stay partial; `official=True` fills them up with zeros behind the norm that attend, as
the release does.
"""

__all__ = ["DaViT", "DaViTBlock", "davit_base", "davit_small", "davit_tiny"]

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from apps.vision.backbones.base import Backbone, Stage, drop_paths, init_linears
from apps.vision.backbones.classifier import PoolHead
from apps.vision.backbones.parts import Down
from core.blocks import PreNorm
from core.channels import MLP
from core.mixers import ChannelGroupAttention, Mixer, WindowAttention
from core.positions import ConditionalPosition
from core.resample import ConvEmbed, PatchEmbed


class DaViTBlock(nn.Module):
    """A mixer and an MLP, each behind a conditional position.

    Args:
        dim: width of the tokens.
        mixer: mixes tokens or channels.
        mlp_ratio: width of the MLP's hidden layer over dim.
        drop_path: share of samples whose branches are left out in training.
    """

    def __init__(self, dim: int, mixer: Mixer, *, mlp_ratio: float = 4.0, drop_path: float = 0.0) -> None:
        super().__init__()
        self.positions = nn.ModuleList(ConditionalPosition(dim) for _ in range(2))
        self.mix = PreNorm(dim, mixer, drop_path=drop_path)
        self.feed = PreNorm(dim, MLP(dim, int(dim * mlp_ratio)), drop_path=drop_path)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, H, W, dim)."""
        x = self.mix(self.positions[0](x, mask), mask=mask)
        return self.feed(self.positions[1](x, mask))


class DaViT(Backbone):
    """(B, channels, H, W) -> feature maps.

    Args:
        dims: width of each level.
        depths: pairs of blocks in each level, one of windows and one of channels.
        heads: of the blocks of each level, the number of groups of channels too.
        window: side of the windows.
        channels: of the image.
        mlp_ratio: width of the MLPs' hidden layer over dim.
        bias: whether q, k and v have one.
        drop_path: share of samples whose branch is left out in the last block, rising evenly from 0.
        official: let what fills windows up attend, as the release does.
    """

    def __init__(
        self,
        dims: Sequence[int] = (96, 192, 384, 768),
        depths: Sequence[int] = (1, 1, 3, 1),
        heads: Sequence[int] = (3, 6, 12, 24),
        *,
        window: int = 7,
        channels: int = 3,
        mlp_ratio: float = 4.0,
        bias: bool = True,
        drop_path: float = 0.1,
        official: bool = False,
    ) -> None:
        def spatial(dim: int, heads: int) -> Mixer:
            return WindowAttention(dim, heads, (window, window), bias=bias, make_score_bias=None, official=official)

        def channel(dim: int, heads: int) -> Mixer:
            return ChannelGroupAttention(dim, heads, bias=bias)

        turns: tuple[Callable[[int, int], Mixer], ...] = (spatial, channel)
        stages: list[Stage] = []
        levels = zip(dims, heads, drop_paths(drop_path, [2 * depth for depth in depths]), strict=True)
        for dim, count, shares in levels:
            down: nn.Module = ConvEmbed(channels, dim, (7, 7), (4, 4), norm=nn.LayerNorm)
            if stages:
                before = stages[-1].dim
                down = Down(PatchEmbed(before, dim, (2, 2)), nn.LayerNorm(before))
            blocks = [
                DaViTBlock(dim, turns[number % 2](dim, count), mlp_ratio=mlp_ratio, drop_path=share)
                for number, share in enumerate(shares)
            ]
            stages.append(Stage(dim, 2 if stages else 4, down, blocks))
        super().__init__(stages)
        init_linears(self)

    def head(self, classes: int) -> nn.Module:
        return PoolHead(self.channels[-1], classes, norm_pooled=nn.LayerNorm(self.channels[-1]))


def davit_tiny(*, drop_path: float = 0.1, official: bool = False) -> DaViT:
    """28.4 M parameters with 1000 classes."""
    return DaViT(drop_path=drop_path, official=official)


def davit_small(*, drop_path: float = 0.2, official: bool = False) -> DaViT:
    """49.7 M parameters with 1000 classes."""
    return DaViT(depths=(1, 1, 9, 1), drop_path=drop_path, official=official)


def davit_base(*, drop_path: float = 0.4, official: bool = False) -> DaViT:
    """88.0 M parameters with 1000 classes."""
    return DaViT((128, 256, 512, 1024), (1, 1, 9, 1), (4, 8, 16, 32), drop_path=drop_path, official=official)
