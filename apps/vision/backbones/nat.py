"""NAT (Hassani et al. 2023) and DiNAT (Hassani & Shi 2022): neighbourhood attention 7 x 7, every second dilated.

Stem two 3 x 3 / 2 and a norm; between the stages 3 x 3 / 2 without bias and a norm; LayerNorm with eps 1e-5.

Decided: dilations are given for 224 x 224, where they are the size of the map over 7; on smaller maps the mixer makes
do with smaller ones, and a map below 7 is seen whole (the release fills it up with zeros that attend: `official=True`).
For larger images give larger ones, one list a stage.
"""

__all__ = [
    "NAT",
    "dinat_base",
    "dinat_mini",
    "dinat_small",
    "dinat_tiny",
    "nat_base",
    "nat_mini",
    "nat_small",
    "nat_tiny",
]

from collections.abc import Sequence

from torch import nn

from apps.vision.backbones.base import Backbone, Stage, drop_paths, init_linears
from apps.vision.backbones.classifier import PoolHead
from apps.vision.backbones.parts import Chain
from core.blocks import Block
from core.channels import MLP
from core.mixers import NeighbourhoodAttention
from core.resample import ConvEmbed


class NAT(Backbone):
    """NAT's pyramid, and DiNAT's.

    Args:
        dim: width of the first stage, doubled at each further one.
        depths: blocks a stage.
        heads: heads a stage.
        kernel: side of a neighbourhood.
        dilations: one number a block, a list a stage; all 1 by default.
        mlp_ratio: width of the MLP over that of the tokens.
        bias: whether q, k and v have one.
        score_scale: factor of the scores; width of a head ** -0.5 by default.
        layer_scale: first value of what branches are multiplied with; None = nothing.
        drop_path: share of dropped branches at the last block.
        channels: of the image.
        official: small maps as in the release.
    """

    def __init__(
        self,
        dim: int,
        depths: Sequence[int],
        heads: Sequence[int],
        *,
        kernel: int = 7,
        dilations: Sequence[Sequence[int]] | None = None,
        mlp_ratio: float = 3.0,
        bias: bool = True,
        score_scale: float | None = None,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        channels: int = 3,
        official: bool = False,
    ) -> None:
        stages = []
        steps = [[1] * depth for depth in depths] if dilations is None else dilations
        for level, (own, shares) in enumerate(zip(steps, drop_paths(drop_path, depths), strict=True)):
            width = dim * 2**level
            if level:
                down: nn.Module = ConvEmbed(width // 2, width, (3, 3), (2, 2), norm=nn.LayerNorm, bias=False)
            else:
                half = ConvEmbed(channels, dim // 2, (3, 3), (2, 2))
                down = Chain([half, ConvEmbed(dim // 2, dim, (3, 3), (2, 2), norm=nn.LayerNorm)])
            blocks = [
                Block(
                    width,
                    NeighbourhoodAttention(
                        width,
                        heads[level],
                        (kernel, kernel),
                        (step, step),
                        bias=bias,
                        scale=score_scale,
                        official=official,
                    ),
                    MLP(width, int(mlp_ratio * width)),
                    layer_scale=layer_scale,
                    drop_path=share,
                )
                for step, share in zip(own, shares, strict=True)
            ]
            stages.append(Stage(width, 2 if level else 4, down, blocks))
        super().__init__(stages)
        init_linears(self)

    def head(self, classes: int) -> nn.Module:
        dim = self.channels[-1]
        return PoolHead(dim, classes, norm_tokens=nn.LayerNorm(dim))


_MINI, _DEEP = (3, 4, 6, 5), (3, 4, 18, 5)


def _alternating(depths: Sequence[int]) -> list[list[int]]:
    """DiNAT's dilations at 224: every second block as wide as the map allows."""
    return [
        [widest if number % 2 else 1 for number in range(n)] for widest, n in zip((8, 4, 2, 1), depths, strict=True)
    ]


def nat_mini(*, drop_path: float = 0.2, official: bool = False) -> NAT:
    """81.8 % top-1 of ImageNet at 224."""
    return NAT(64, _MINI, (2, 4, 8, 16), drop_path=drop_path, official=official)


def nat_tiny(*, drop_path: float = 0.2, official: bool = False) -> NAT:
    """83.2 %."""
    return NAT(64, _DEEP, (2, 4, 8, 16), drop_path=drop_path, official=official)


def nat_small(*, drop_path: float = 0.3, official: bool = False) -> NAT:
    """83.7 %."""
    return NAT(96, _DEEP, (3, 6, 12, 24), mlp_ratio=2, layer_scale=1e-5, drop_path=drop_path, official=official)


def nat_base(*, drop_path: float = 0.5, official: bool = False) -> NAT:
    """84.3 %."""
    return NAT(128, _DEEP, (4, 8, 16, 32), mlp_ratio=2, layer_scale=1e-5, drop_path=drop_path, official=official)


def dinat_mini(*, drop_path: float = 0.2, official: bool = False) -> NAT:
    """81.8 %."""
    return NAT(64, _MINI, (2, 4, 8, 16), dilations=_alternating(_MINI), drop_path=drop_path, official=official)


def dinat_tiny(*, drop_path: float = 0.2, official: bool = False) -> NAT:
    """82.7 %."""
    return NAT(64, _DEEP, (2, 4, 8, 16), dilations=_alternating(_DEEP), drop_path=drop_path, official=official)


def dinat_small(*, drop_path: float = 0.3, official: bool = False) -> NAT:
    """83.8 %, without a layer scale, unlike NAT's."""
    return NAT(
        96, _DEEP, (3, 6, 12, 24), dilations=_alternating(_DEEP), mlp_ratio=2, drop_path=drop_path, official=official
    )


def dinat_base(*, drop_path: float = 0.5, official: bool = False) -> NAT:
    """84.4 %."""
    dilations = _alternating(_DEEP)
    return NAT(
        128,
        _DEEP,
        (4, 8, 16, 32),
        dilations=dilations,
        mlp_ratio=2,
        layer_scale=1e-5,
        drop_path=drop_path,
        official=official,
    )
