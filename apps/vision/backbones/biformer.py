"""BiFormer (Zhu et al. 2023): attention to the regions that suit best, in the last stage to all.

    x = x + depthwise3(x),   x = x + mixer(norm(x)),   x = x + mlp(norm(x))

Stem two 3 x 3 / 2 with batch norm and GELU between; between the stages 3 x 3 / 2 with batch norm; LayerNorm with eps
1e-6, MLP three times as wide.  7 x 7 regions, of which 1, 4 and 16 are attended to.  The last stage always has 8 heads,
no bias in q, k and v, and convolves the mixer's input instead of its values.

Decided: features take no mask, because regions are a fixed number a map; sizes that do not divide into them, see
`core.mixers.BiLevelRoutingAttention`.
"""

__all__ = ["BiFormer", "biformer_base", "biformer_small", "biformer_tiny"]

from collections.abc import Sequence

from torch import Tensor, nn

from apps.vision.backbones.base import Backbone, Stage, drop_paths, init_linears
from apps.vision.backbones.parts import layer_norm
from core.blocks import Block
from core.channels import MLP
from core.conv_norm import ConvNorm
from core.layout import grid_of, zero_padding
from core.mixers import Attention, BiLevelRoutingAttention, Mixer
from core.ops.attend import attend
from core.positions import ConditionalPosition, LePE


class InputConvAttention(Mixer):
    """W_o (attention of all with all + depthwise(x)): the mixer of the last stage.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        kernel: of the convolution.
        bias: whether q, k and v have one.
        scale: factor of the scores; width of a head ** -0.5 by default.
    """

    def __init__(
        self, dim: int, heads: int = 8, *, kernel: int = 5, bias: bool = False, scale: float | None = None
    ) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, bias=bias, scale=scale)
        self.local = LePE(dim, (kernel, kernel))

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, H, W, dim)."""
        x = zero_padding(x, mask)
        own = self.attention
        q, k, v = (p(x).flatten(1, 2).unflatten(-1, (own.heads, -1)).transpose(1, 2) for p in (own.q, own.k, own.v))
        real = None if mask is None else mask.flatten(1)[:, None, None]
        y = attend(q, k, v, mask=real, scale=own.scale).transpose(1, 2).flatten(2).unflatten(1, grid_of(x))
        return zero_padding(own.out(y + self.local(x)), mask)


class BiFormerBlock(nn.Module):
    """A convolution as position, attention, MLP.

    Args:
        dim: width of the tokens.
        mixer: mixes tokens.
        hidden: width of the MLP.
        layer_scale: first value of what branches are multiplied with; None = nothing.
        drop_path: share of samples whose branches are left out in training.
    """

    def __init__(
        self, dim: int, mixer: Mixer, hidden: int, layer_scale: float | None = None, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.position = ConditionalPosition(dim)
        self.block = Block(dim, mixer, MLP(dim, hidden), norm=layer_norm, layer_scale=layer_scale, drop_path=drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dim)."""
        return self.block(self.position(x))


class BiFormer(Backbone):
    """BiFormer's pyramid.

    Args:
        depths: blocks a stage.
        dims: width of each stage.
        head_dim: width of a head where regions are routed.
        regions: regions an axis.
        chosen: regions that a region attends to, a stage; None = the last stage's attention to all.
        mlp_ratio: width of the MLP over that of the tokens.
        layer_scale: first value of what branches are multiplied with; None = nothing.
        score_scale: factor of the scores, see the mixers.
        drop_path: share of dropped branches at the last block.
        channels: of the image.
        official: fill maps up as the release does.
    """

    def __init__(
        self,
        depths: Sequence[int],
        dims: Sequence[int],
        *,
        head_dim: int = 32,
        regions: int = 7,
        chosen: Sequence[int | None] = (1, 4, 16, None),
        mlp_ratio: float = 3.0,
        layer_scale: float | None = None,
        score_scale: float | None = None,
        drop_path: float = 0.0,
        channels: int = 3,
        official: bool = False,
    ) -> None:
        stages = []
        for level, (dim, count, shares) in enumerate(zip(dims, chosen, drop_paths(drop_path, depths), strict=True)):

            def mixer(dim: int = dim, count: int | None = count) -> Mixer:
                if count is None:
                    return InputConvAttention(dim, scale=score_scale)
                heads = dim // head_dim
                return BiLevelRoutingAttention(
                    dim, heads, regions=regions, chosen=count, scale=score_scale, official=official
                )

            if level:
                down: nn.Module = ConvNorm(dims[level - 1], dim, 3, stride=2, bias=True)
            else:
                half = ConvNorm(channels, dim // 2, 3, stride=2, bias=True)
                down = nn.Sequential(half, nn.GELU(), ConvNorm(dim // 2, dim, 3, stride=2, bias=True))
            blocks = [BiFormerBlock(dim, mixer(), int(mlp_ratio * dim), layer_scale, share) for share in shares]
            stages.append(Stage(dim, 2 if level else 4, down, blocks))
        super().__init__(stages)
        init_linears(self)

    def head(self, classes: int) -> nn.Module:
        return BiFormerHead(self.channels[-1], classes)


class BiFormerHead(nn.Module):
    """Batch norm of every token, mean, linear layer.

    Args:
        dim: width of the last feature map.
        classes: number of classes.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(dim)
        self.linear = nn.Linear(dim, classes)
        init_linears(self)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, h, w, dim) -> (B, classes)."""
        return self.linear(self.norm(x.movedim(-1, 1)).mean((2, 3)))


def biformer_tiny(*, drop_path: float = 0.1, official: bool = False) -> BiFormer:
    """81.4 % top-1 of ImageNet at 224."""
    return BiFormer((2, 2, 8, 2), (64, 128, 256, 512), drop_path=drop_path, official=official)


def biformer_small(*, drop_path: float = 0.15, official: bool = False) -> BiFormer:
    """83.8 %."""
    return BiFormer((4, 4, 18, 4), (64, 128, 256, 512), drop_path=drop_path, official=official)


def biformer_base(*, drop_path: float = 0.4, official: bool = False) -> BiFormer:
    """84.3 %."""
    return BiFormer((4, 4, 18, 4), (96, 192, 384, 768), drop_path=drop_path, official=official)
