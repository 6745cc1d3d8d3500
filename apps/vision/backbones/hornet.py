"""HorNet (Rao et al. 2022): ConvNeXt's pyramid with recursive gated convolutions.

    x = x + gamma1 gnconv(norm(x)),   x = x + gamma2 mlp(norm(x))

Orders 2, 3, 4, 5 a stage, scale 1 / 3.  The 7 x 7 kind convolves everywhere; the GF kind has global and local filters
in the last two stages, whose spectra belong to images of 224 (see `core.mixers.GlobalLocalFilter`).

Decided: maps that do not divide are filled up with zeros; the release drops what is left over (`official=True`).  The
GF kind takes no mask, because its spectrum is that of the whole map.
"""

__all__ = [
    "HorNet",
    "hornet_base",
    "hornet_base_gf",
    "hornet_small",
    "hornet_small_gf",
    "hornet_tiny",
    "hornet_tiny_gf",
]

from collections.abc import Sequence
from functools import partial

from torch import nn

from apps.vision.backbones.base import Backbone, Stage, drop_paths
from apps.vision.backbones.classifier import PoolHead
from apps.vision.backbones.parts import Down, init_normal, layer_norm
from core.blocks import Block
from core.channels import MLP
from core.mixers import DepthwiseConv, GlobalLocalFilter, RecursiveGatedConv
from core.resample import PatchEmbed


class HorNet(Backbone):
    """HorNet's pyramid.

    Args:
        dim: width of the first stage, doubled at each further one.
        depths: blocks a stage.
        orders: of the gated convolutions, a stage.
        spectra: sizes of the global filters, a stage; None = 7 x 7 convolutions.
        scale: of the gates.
        layer_scale: first value of gamma; None = no gamma.
        drop_path: share of dropped branches at the last block.
        channels: of the image.
        official: drop the rows and columns that do not fill a patch.
    """

    def __init__(
        self,
        dim: int,
        depths: Sequence[int] = (2, 3, 18, 2),
        *,
        orders: Sequence[int] = (2, 3, 4, 5),
        spectra: Sequence[tuple[int, int] | None] = (None, None, None, None),
        scale: float = 1 / 3,
        layer_scale: float | None = 1e-6,
        drop_path: float = 0.0,
        channels: int = 3,
        official: bool = False,
    ) -> None:
        stages, before = [], channels
        rows = zip(orders, spectra, drop_paths(drop_path, depths), strict=True)
        for level, (order, spectrum, shares) in enumerate(rows):
            width, stride = dim * 2**level, 2 if level else 4
            embed = PatchEmbed(before, width, (stride, stride), norm=None if level else layer_norm)
            down = Down(embed, layer_norm(before) if level else None, floor=stride if official else 0)
            mixer = partial(RecursiveGatedConv, width, order, scale=scale)
            if spectrum is not None:
                mixer = partial(mixer, make_conv=partial(GlobalLocalFilter, spectrum=spectrum))
            blocks = [
                Block(
                    width,
                    mixer(),
                    MLP(width, 4 * width),
                    norm=layer_norm,
                    layer_scale=layer_scale,
                    drop_path=share,
                )
                for share in shares
            ]
            stages.append(Stage(width, stride, down, blocks))
            before = width
        super().__init__(stages)
        init_normal(self)
        for part in self.modules():
            if isinstance(part, DepthwiseConv):
                nn.init.trunc_normal_(part.weight, std=0.02)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)

    def head(self, classes: int) -> nn.Module:
        dim = self.channels[-1]
        return PoolHead(dim, classes, norm_pooled=layer_norm(dim))


# The spectra of maps of 14 x 14 and 7 x 7.
_AT_224 = (None, None, (14, 8), (7, 4))


def hornet_tiny(*, drop_path: float = 0.2, official: bool = False) -> HorNet:
    """82.8 % top-1 of ImageNet at 224."""
    return HorNet(64, drop_path=drop_path, official=official)


def hornet_tiny_gf(*, drop_path: float = 0.2, official: bool = False) -> HorNet:
    """83.0 %."""
    return HorNet(64, spectra=_AT_224, drop_path=drop_path, official=official)


def hornet_small(*, drop_path: float = 0.4, official: bool = False) -> HorNet:
    """83.8 %."""
    return HorNet(96, drop_path=drop_path, official=official)


def hornet_small_gf(*, drop_path: float = 0.4, official: bool = False) -> HorNet:
    """84.0 %."""
    return HorNet(96, spectra=_AT_224, drop_path=drop_path, official=official)


def hornet_base(*, drop_path: float = 0.5, official: bool = False) -> HorNet:
    """84.2 %."""
    return HorNet(128, drop_path=drop_path, official=official)


def hornet_base_gf(*, drop_path: float = 0.5, official: bool = False) -> HorNet:
    """84.3 %."""
    return HorNet(128, spectra=_AT_224, drop_path=drop_path, official=official)
