"""RMT (Fan et al. 2024): attention that decays with the Manhattan distance, decomposed where maps are large.

    x = x + depthwise3(x),   x = x + mixer(norm(x)),   x = x + W2 (h + depthwise3(h)),  h = gelu(W1 norm(x))

Stem four 3 x 3 with batch norm, strides 2, 1, 2, 1; between the stages 3 x 3 / 2 with batch norm; LayerNorm with eps
1e-6.  The paper's T, S, B, L are RMT_T3, RMT_S, RMT_M2, RMT_L6 of the code.

Decided: features take no mask, because q and k are turned by raster numbers, which depend on the width of the map.
"""

__all__ = ["RMT", "rmt_base", "rmt_large", "rmt_small", "rmt_tiny"]

from collections.abc import Sequence

from torch import Tensor, nn

from apps.vision.backbones.base import Backbone, Stage, drop_paths, init_linears
from apps.vision.backbones.parts import layer_norm
from core.blocks import Block
from core.conv_norm import ConvNorm
from core.mixers import ManhattanAttention
from core.positions import ConditionalPosition


class RMT(Backbone):
    """RMT's pyramid.

    Args:
        depths: blocks a stage.
        dims: width of each stage.
        heads: heads a stage.
        spreads: how far the decay's exponent runs over the heads, a stage.
        starts: its first value, a stage.
        mlp_ratios: width of the MLP over that of the tokens, a stage.
        decomposed: which stages attend along rows and columns.
        layer_scales: first value of what branches are multiplied with, a stage; None = nothing.
        projection: width of the classification head.
        drop_path: share of dropped branches at the last block.
        channels: of the image.
    """

    def __init__(
        self,
        depths: Sequence[int],
        dims: Sequence[int],
        heads: Sequence[int],
        *,
        spreads: Sequence[float] = (4, 4, 6, 6),
        starts: Sequence[float] = (2, 2, 2, 2),
        mlp_ratios: Sequence[float] = (4, 4, 3, 3),
        decomposed: Sequence[bool] = (True, True, True, False),
        layer_scales: Sequence[float | None] = (None, None, None, None),
        projection: int = 1024,
        drop_path: float = 0.0,
        channels: int = 3,
    ) -> None:
        stages = []
        for level, shares in enumerate(drop_paths(drop_path, depths)):
            dim = dims[level]
            down = ConvNorm(dims[level - 1], dim, 3, stride=2, bias=True) if level else _stem(channels, dim)
            blocks = [
                RMTBlock(
                    dim,
                    ManhattanAttention(
                        dim,
                        heads[level],
                        start=starts[level],
                        spread=spreads[level],
                        decomposed=decomposed[level],
                    ),
                    int(mlp_ratios[level] * dim),
                    layer_scales[level],
                    share,
                )
                for share in shares
            ]
            stages.append(Stage(dim, 2 if level else 4, down, blocks))
        super().__init__(stages)
        self.projection = projection
        init_linears(self)

    def head(self, classes: int) -> nn.Module:
        return RMTHead(self.channels[-1], classes, self.projection)


class RMTBlock(nn.Module):
    """A convolution as position, attention, a feed-forward network with a convolution.

    Args:
        dim: width of the tokens.
        mixer: mixes tokens.
        hidden: width of the feed-forward network.
        layer_scale: first value of what branches are multiplied with; None = nothing.
        drop_path: share of samples whose branches are left out in training.
    """

    def __init__(
        self, dim: int, mixer: nn.Module, hidden: int, layer_scale: float | None = None, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.position = ConditionalPosition(dim)
        feed = LocalMLP(dim, hidden)
        self.block = Block(dim, mixer, feed, norm=layer_norm, layer_scale=layer_scale, drop_path=drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dim)."""
        return self.block(self.position(x))


class LocalMLP(nn.Module):
    """W2 (h + depthwise3(h)), h = gelu(W1 x).

    Args:
        dim: width of the tokens.
        hidden: width between the layers.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.enter = nn.Linear(dim, hidden)
        self.activation = nn.GELU()
        self.local = ConditionalPosition(hidden)
        self.leave = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dim)."""
        return self.leave(self.local(self.activation(self.enter(x))))


class RMTHead(nn.Module):
    """Linear layer, batch norm and SiLU of every token, mean, linear layer.

    Args:
        dim: width of the last feature map.
        classes: number of classes.
        hidden: width between the layers.
    """

    def __init__(self, dim: int, classes: int, hidden: int) -> None:
        super().__init__()
        self.enter = nn.Linear(dim, hidden)
        self.norm = nn.BatchNorm2d(hidden)
        self.activation = nn.SiLU()
        self.leave = nn.Linear(hidden, classes)
        init_linears(self)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, h, w, dim) -> (B, classes)."""
        return self.leave(self.activation(self.norm(self.enter(x).movedim(-1, 1))).mean((2, 3)))


def _stem(channels: int, dim: int) -> nn.Module:
    half = dim // 2
    return nn.Sequential(
        ConvNorm(channels, half, 3, stride=2, bias=True),
        nn.GELU(),
        ConvNorm(half, half, 3, bias=True),
        nn.GELU(),
        ConvNorm(half, dim, 3, stride=2, bias=True),
        nn.GELU(),
        ConvNorm(dim, dim, 3, bias=True),
    )


def rmt_tiny(*, drop_path: float = 0.1) -> RMT:
    """82.4 % top-1 of ImageNet at 224."""
    return RMT(
        (2, 2, 8, 2),
        (64, 128, 256, 512),
        (4, 4, 8, 16),
        mlp_ratios=(3, 3, 3, 3),
        decomposed=(True, True, False, False),
        drop_path=drop_path,
    )


def rmt_small(*, drop_path: float = 0.15) -> RMT:
    """84.1 %."""
    return RMT((3, 4, 18, 4), (64, 128, 256, 512), (4, 4, 8, 16), drop_path=drop_path)


def rmt_base(*, drop_path: float = 0.4) -> RMT:
    """85.0 %."""
    scales = (None, None, 1e-6, 1e-6)
    return RMT(
        (4, 8, 25, 8),
        (80, 160, 320, 512),
        (5, 5, 10, 16),
        spreads=(5, 5, 6, 6),
        layer_scales=scales,
        drop_path=drop_path,
    )


def rmt_large(*, drop_path: float = 0.5) -> RMT:
    """85.5 %."""
    scales = (None, None, 1e-6, 1e-6)
    return RMT(
        (4, 8, 25, 8),
        (112, 224, 448, 640),
        (7, 7, 14, 20),
        spreads=(6, 6, 6, 6),
        layer_scales=scales,
        drop_path=drop_path,
    )
