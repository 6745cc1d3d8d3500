"""PoolFormer (Yu et al. 2022) and the MetaFormer baselines (Yu et al. 2022): PoolFormerV2, ConvFormer, CAFormer.

    x = r1 x + l1 mixer(norm1(x)),   x = r2 x + l2 W2 act(W1 norm2(x))

PoolFormer: pooling minus identity, one norm over the whole map (`MapNorm`), GELU, layer scale l.  The baselines: no
biases but in convolutions, StarReLU, norms in front of every downsampling, r = 1 at the start in the last two stages.
PoolFormerV2 has `MapNorm` without bias, ConvFormer separable convolutions, CAFormer attention in the last two stages.

Decided: the stem 7 x 7 / 4 with 2 zeros in front gives ceil(size / 4) tokens here, where the release gives
floor((size + 1) / 4); the two differ for sizes 1 and 2 above a multiple of 4, `official=True` takes the release's.
timm's PoolFormer (version 1) normalises after the mean over the map with a LayerNorm; the release, and this, before it.
"""

__all__ = [
    "MetaFormer",
    "caformer_b36",
    "caformer_m36",
    "caformer_s18",
    "caformer_s36",
    "convformer_b36",
    "convformer_m36",
    "convformer_s18",
    "convformer_s36",
    "poolformer_s12",
    "poolformer_s24",
    "poolformer_s36",
    "poolformerv2_s12",
    "poolformerv2_s24",
    "poolformerv2_s36",
]

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from apps.vision.backbones.base import Backbone, Stage, drop_paths
from apps.vision.backbones.classifier import PoolHead
from apps.vision.backbones.parts import Down, init_normal, layer_norm
from core.blocks import DropPath
from core.channels import MLP, SquaredReLU, StarReLU
from core.mixers import Attention, DepthwiseConv, Mixer, Pooling, SepConv
from core.norms import MapNorm
from core.resample import ConvEmbed

Make = Callable[[int], nn.Module]
MakeMixer = Callable[[int], Mixer]


class Branch(nn.Module):
    """residual * x + scale * inner(norm(x)).

    Args:
        dim: width of the tokens.
        inner: mixes tokens or channels.
        norm: of what goes in.
        layer_scale: first value of `scale`; None = 1 for ever.
        residual_scale: whether `residual` is learned.
        drop_path: share of samples whose branch is left out in training.
    """

    def __init__(
        self,
        dim: int,
        inner: nn.Module,
        norm: nn.Module,
        layer_scale: float | None,
        residual_scale: bool,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.norm = norm
        self.inner = inner
        self.scale = None if layer_scale is None else nn.Parameter(torch.full((dim,), layer_scale))
        self.residual = nn.Parameter(torch.ones(dim)) if residual_scale else None
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        y = self.norm(x, mask) if isinstance(self.norm, MapNorm) else self.norm(x)
        y = self.inner(y, mask=mask) if isinstance(self.inner, Mixer) and mask is not None else self.inner(y)
        y = self.drop_path(y)
        y = y if self.scale is None else y * self.scale
        return x + y if self.residual is None else torch.addcmul(y, x, self.residual)


class MetaFormerBlock(nn.Module):
    """Two branches, over tokens and over channels."""

    def __init__(self, mix: Branch, feed: Branch) -> None:
        super().__init__()
        self.mix = mix
        self.feed = feed

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, H, W, dim)."""
        return self.feed(self.mix(x, mask=mask), mask=mask)


class MetaFormer(Backbone):
    """The pyramid of all of them.

    Args:
        depths: blocks a stage.
        dims: width of each stage.
        mixers: one a stage, makes a mixer from the width.
        norm: makes a block's norm.
        down_norm: makes the norms behind the stem and in front of the downsamplings; None = none.
        mlp: makes a block's MLP.
        layer_scale: first value of what branches are multiplied with; None = nothing.
        residual_scales: for each stage, whether x is multiplied with a learned scale.
        make_head: makes the classification head from the last width and the number of classes.
        drop_path: share of dropped branches at the last block.
        channels: of the image.
        official: sizes of the stem as in the release.
    """

    def __init__(
        self,
        depths: Sequence[int],
        dims: Sequence[int],
        mixers: Sequence[MakeMixer],
        *,
        norm: Make,
        down_norm: Make | None,
        mlp: Make,
        make_head: Callable[[int, int], nn.Module],
        layer_scale: float | None = None,
        residual_scales: Sequence[bool] = (False, False, True, True),
        drop_path: float = 0.0,
        channels: int = 3,
        official: bool = False,
    ) -> None:
        stages, before = [], channels
        rows = zip(dims, mixers, residual_scales, drop_paths(drop_path, depths), strict=True)
        for level, (dim, mixer, residual, shares) in enumerate(rows):
            if level:
                embed = ConvEmbed(before, dim, (3, 3), (2, 2))
                down = Down(embed, None if down_norm is None else down_norm(before))
            else:
                down = Down(ConvEmbed(before, dim, (7, 7), (4, 4), norm=down_norm, before=(2, 2), floor=official))
            blocks = [
                MetaFormerBlock(
                    Branch(dim, mixer(dim), norm(dim), layer_scale, residual, share),
                    Branch(dim, mlp(dim), norm(dim), layer_scale, residual, share),
                )
                for share in shares
            ]
            stages.append(Stage(dim, 2 if level else 4, down, blocks))
            before = dim
        super().__init__(stages)
        self.make_head = make_head
        init_normal(self)
        for part in self.modules():
            if isinstance(part, DepthwiseConv):
                nn.init.trunc_normal_(part.weight, std=0.02)

    def head(self, classes: int) -> nn.Module:
        return self.make_head(self.channels[-1], classes)


class MLPHead(nn.Module):
    """Mean, norm, linear, squared ReLU, norm, linear: ConvFormer's and CAFormer's classification head.

    Args:
        dim: width of the last feature map.
        classes: number of classes.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.norm_pooled = layer_norm(dim)
        self.enter = nn.Linear(dim, 4 * dim)
        self.activation = SquaredReLU()
        self.norm = nn.LayerNorm(4 * dim)
        self.leave = nn.Linear(4 * dim, classes)
        init_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, h, w, dim) -> (B, classes)."""
        x = self.norm_pooled(x.mean((1, 2)))
        return self.leave(self.norm(self.activation(self.enter(x))))


def attention(dim: int, head_dim: int = 32) -> Attention:
    """As many heads as fit, at least one, of a fixed width, without biases."""
    return Attention(dim, max(dim // head_dim, 1), head_dim=head_dim, bias=False, out_bias=False)


def linear_head(dim: int, classes: int) -> nn.Module:
    """The baselines' plain head."""
    return PoolHead(dim, classes, norm_pooled=layer_norm(dim))


def pool_head(dim: int, classes: int) -> nn.Module:
    """PoolFormer's head, whose norm stands before the mean."""
    return PoolHead(dim, classes, norm_tokens=MapNorm(dim))


def star_mlp(dim: int) -> nn.Module:
    """The baselines' MLP."""
    return MLP(dim, 4 * dim, activation=StarReLU, bias=False)


def token_norm(dim: int) -> nn.Module:
    """The baselines' LayerNorm."""
    return nn.LayerNorm(dim, eps=1e-6, bias=False)


# Arguments of the constructor that a family's sizes share.
_POOLFORMER = partial(
    MetaFormer,
    mixers=(Pooling,) * 4,
    norm=MapNorm,
    down_norm=None,
    mlp=lambda dim: MLP(dim, 4 * dim),
    make_head=pool_head,
    residual_scales=(False,) * 4,
)
_POOLFORMERV2 = partial(
    MetaFormer,
    mixers=(Pooling,) * 4,
    norm=partial(MapNorm, eps=1e-6, bias=False),
    down_norm=token_norm,
    mlp=star_mlp,
    make_head=linear_head,
)
_CONVFORMER = partial(
    MetaFormer, mixers=(SepConv,) * 4, norm=token_norm, down_norm=token_norm, mlp=star_mlp, make_head=MLPHead
)
_CAFORMER = partial(_CONVFORMER, mixers=(SepConv, SepConv, attention, attention))
_SMALL, _MIDDLE, _BIG = (64, 128, 320, 512), (96, 192, 384, 576), (128, 256, 512, 768)


def poolformer_s12(*, drop_path: float = 0.1, official: bool = False) -> MetaFormer:
    """77.2 % top-1 of ImageNet at 224."""
    return _POOLFORMER((2, 2, 6, 2), _SMALL, layer_scale=1e-5, drop_path=drop_path, official=official)


def poolformer_s24(*, drop_path: float = 0.1, official: bool = False) -> MetaFormer:
    """80.3 %."""
    return _POOLFORMER((4, 4, 12, 4), _SMALL, layer_scale=1e-5, drop_path=drop_path, official=official)


def poolformer_s36(*, drop_path: float = 0.2, official: bool = False) -> MetaFormer:
    """81.4 %."""
    return _POOLFORMER((6, 6, 18, 6), _SMALL, layer_scale=1e-6, drop_path=drop_path, official=official)


def poolformerv2_s12(*, drop_path: float = 0.1, official: bool = False) -> MetaFormer:
    """78.0 %."""
    return _POOLFORMERV2((2, 2, 6, 2), _SMALL, drop_path=drop_path, official=official)


def poolformerv2_s24(*, drop_path: float = 0.1, official: bool = False) -> MetaFormer:
    """80.7 %."""
    return _POOLFORMERV2((4, 4, 12, 4), _SMALL, drop_path=drop_path, official=official)


def poolformerv2_s36(*, drop_path: float = 0.2, official: bool = False) -> MetaFormer:
    """81.6 %."""
    return _POOLFORMERV2((6, 6, 18, 6), _SMALL, drop_path=drop_path, official=official)


def convformer_s18(*, drop_path: float = 0.2, official: bool = False) -> MetaFormer:
    """83.0 %."""
    return _CONVFORMER((3, 3, 9, 3), _SMALL, drop_path=drop_path, official=official)


def convformer_s36(*, drop_path: float = 0.3, official: bool = False) -> MetaFormer:
    """84.1 %."""
    return _CONVFORMER((3, 12, 18, 3), _SMALL, drop_path=drop_path, official=official)


def convformer_m36(*, drop_path: float = 0.4, official: bool = False) -> MetaFormer:
    """84.5 %."""
    return _CONVFORMER((3, 12, 18, 3), _MIDDLE, drop_path=drop_path, official=official)


def convformer_b36(*, drop_path: float = 0.6, official: bool = False) -> MetaFormer:
    """84.8 %."""
    return _CONVFORMER((3, 12, 18, 3), _BIG, drop_path=drop_path, official=official)


def caformer_s18(*, drop_path: float = 0.15, official: bool = False) -> MetaFormer:
    """83.6 %."""
    return _CAFORMER((3, 3, 9, 3), _SMALL, drop_path=drop_path, official=official)


def caformer_s36(*, drop_path: float = 0.3, official: bool = False) -> MetaFormer:
    """84.5 %."""
    return _CAFORMER((3, 12, 18, 3), _SMALL, drop_path=drop_path, official=official)


def caformer_m36(*, drop_path: float = 0.4, official: bool = False) -> MetaFormer:
    """85.2 %."""
    return _CAFORMER((3, 12, 18, 3), _MIDDLE, drop_path=drop_path, official=official)


def caformer_b36(*, drop_path: float = 0.6, official: bool = False) -> MetaFormer:
    """85.5 %."""
    return _CAFORMER((3, 12, 18, 3), _BIG, drop_path=drop_path, official=official)
