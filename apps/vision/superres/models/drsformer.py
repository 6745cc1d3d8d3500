"""DRSformer (Chen et al. 2023): deraining by a U-Net of attention between channels that keeps the largest scores.

    block    x + attention(norm x), then x + mixed-scale feed-forward(norm x)
    levels   4, halved by conv + pixel unshuffle, doubled by conv + pixel shuffle; the decoder sees [below, skip],
             reduced by a linear layer at levels 3 and 2, at full width on level 1
    experts  after the first convolution and before the last one; without them for Rain200L and SPA-Data
    result   image + conv

The attention (four softmaxes over the largest half to four fifths of the scores) is `core.mixers.ChannelAttention` with
`TopKWeights`, which combines the four before v is multiplied.

Decided: images of any size are mirrored up to multiples of 8, as often as small ones need, where the release fails.
`BiasFreeNorm` instead of `nn.LayerNorm` is the release's `BiasFree`; `dim // heads` must be 2 at least on every level.
"""

__all__ = ["DRSformer", "drsformer", "drsformer_light"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from apps.vision.superres.models.drsformer_layers import Experts, MixedScaleMLP
from apps.vision.superres.models.shell import TokenConv, pixel_shuffle, reflect
from core.blocks import Block
from core.mixers import ChannelAttention
from core.mixers.channel_attention import TopKWeights

_LEVELS = 4
_MULTIPLE = 2 ** (_LEVELS - 1)


class _Down(nn.Module):
    """(B, H, W, C) -> (B, H / 2, W / 2, 2 C)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = TokenConv(dim, dim // 2, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
        return y.permute(0, 1, 3, 5, 2, 4).flatten(3)


class _Up(nn.Module):
    """(B, H, W, C) -> (B, 2 H, 2 W, C / 2)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = TokenConv(dim, 2 * dim, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return pixel_shuffle(self.conv(x), 2)


class DRSformer(nn.Module):
    """(B, channels, H, W) in [0, 1] -> the same, any size.

    Args:
        scale: 1; nothing is enlarged.
        channels: of the image.
        dim: width at full size; doubled at each level.
        depths: blocks at each of the four levels.
        heads: heads at each level.
        expansion: width of the feed-forwards, as a multiple of the tokens'.
        bias: whether attention, feed-forwards, reductions and the last convolution have one.
        make_norm: makes a norm from a width.
        experts: whether there are mixtures of experts.

    Raises:
        ValueError: for another scale.
    """

    def __init__(
        self,
        scale: int = 1,
        *,
        channels: int = 3,
        dim: int = 48,
        depths: Sequence[int] = (4, 6, 6, 8),
        heads: Sequence[int] = (1, 2, 4, 8),
        expansion: float = 2.66,
        bias: bool = False,
        make_norm: Callable[[int], nn.Module] = nn.LayerNorm,
        experts: bool = True,
    ) -> None:
        super().__init__()
        if scale != 1:
            raise ValueError(f"DRSformer: scale {scale}; it restores images at their size, give 1")
        if not len(depths) == len(heads) == _LEVELS:
            raise ValueError(f"DRSformer: depths {tuple(depths)}, heads {tuple(heads)}; give {_LEVELS} numbers each")
        if narrow := [i for i, h in enumerate(heads) if dim * 2**i % h or dim * 2**i // h < 2]:
            raise ValueError(
                f"DRSformer: dim {dim} with heads {tuple(heads)} at level {narrow[0] + 1}; "
                "give heads that divide the level's width and are at least 2 wide"
            )
        self.scale = scale
        self.channels = channels
        widths = [dim * 2**level for level in range(_LEVELS)]

        def level(width: int, depth: int, count: int) -> nn.Sequential:
            return nn.Sequential(
                *(
                    Block(
                        width,
                        ChannelAttention(width, count, bias=bias, weighting=TopKWeights),
                        MixedScaleMLP(width, int(width * expansion), bias=bias),
                        norm=make_norm,
                    )
                    for _ in range(depth)
                )
            )

        self.enter = TokenConv(channels, dim, 3, padding=1, bias=False)
        self.enter_experts = Experts(dim) if experts else None
        self.encoder = nn.ModuleList(level(*sizes) for sizes in zip(widths, depths, heads, strict=True))
        self.down = nn.ModuleList(_Down(width) for width in widths[:-1])
        self.up = nn.ModuleList(_Up(width) for width in widths[1:])
        # At full size nothing is reduced: the decoder is as wide as what it is given.
        self.reduce = nn.ModuleList(nn.Linear(2 * width, width, bias=bias) for width in widths[1:-1])
        sizes = zip([2 * dim, *widths[1:-1]], depths[:-1], heads[:-1], strict=True)
        self.decoder = nn.ModuleList(level(*own) for own in sizes)
        self.leave_experts = Experts(2 * dim) if experts else None
        self.leave = TokenConv(2 * dim, channels, 3, padding=1, bias=bias)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()  # as the release: torch's defaults everywhere

    def forward(self, image: Tensor) -> Tensor:
        """(B, channels, H, W) in [0, 1] -> the same shape, not clamped.

        Raises:
            ValueError: where the image has another number of channels or no pixels.
        """
        if image.ndim != 4 or image.shape[1] != self.channels or not image.numel():
            raise ValueError(f"DRSformer: image of shape {tuple(image.shape)}; give (B, {self.channels}, H, W)")
        height, width = image.shape[2:]
        wide = reflect(image, _MULTIPLE)
        # Planes come out of the first convolution; what is added to them would stay so, and every norm make a copy.
        x = self.enter(wide.permute(0, 2, 3, 1)).contiguous()
        if self.enter_experts is not None:
            x = self.enter_experts(x)
        skips = []
        for number, blocks in enumerate(self.encoder):
            x = blocks(x if number == 0 else self.down[number - 1](x))
            skips.append(x)
        for number in reversed(range(_LEVELS - 1)):
            x = torch.cat([self.up[number](x), skips[number]], -1)
            x = self.decoder[number](x if number == 0 else self.reduce[number - 1](x))
        if self.leave_experts is not None:
            x = self.leave_experts(x)
        return (wide + self.leave(x).permute(0, 3, 1, 2))[:, :, :height, :width]


def drsformer(scale: int = 1) -> DRSformer:
    """The published network (Rain200H, DID-Data, DDN-Data)."""
    return DRSformer(scale)


def drsformer_light(scale: int = 1) -> DRSformer:
    """The published network without experts (Rain200L, SPA-Data)."""
    return DRSformer(scale, experts=False)
