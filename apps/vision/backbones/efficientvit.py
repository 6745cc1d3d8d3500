"""EfficientViT (Liu et al. 2023, of MSRA; not the one of MIT): cascaded group attention, strides 16, 32 and 64.

    convolution, feed-forward, attention, convolution, feed-forward, each x + f(x)

All norms are batch norms behind convolutions; `core.conv_norm.folded(network)` is the network to deploy.

Decided: the tables of biases belong to windows of min(7, map) at the image size that the network is built for; other
sizes of images use the same tables (see `core.mixers.CascadedGroupAttention` for windows that are not full).
"""

__all__ = [
    "EfficientViT",
    "efficientvit_m0",
    "efficientvit_m1",
    "efficientvit_m2",
    "efficientvit_m3",
    "efficientvit_m4",
    "efficientvit_m5",
]

from collections.abc import Sequence

from torch import Tensor, nn

from apps.vision.backbones.base import Backbone, Stage
from apps.vision.backbones.squeezed import BatchNormHead, ConvFeed, local, squeezed_down, stem16
from core.mixers import CascadedGroupAttention, Mixer


class EfficientViTBlock(nn.Module):
    """Attention between two convolutions with their feed-forward layers.

    Args:
        dim: width of the tokens.
        mixer: mixes tokens.
    """

    def __init__(self, dim: int, mixer: Mixer) -> None:
        super().__init__()
        self.before = nn.Sequential(local(dim, gain=0.0), ConvFeed(dim))
        self.mixer = mixer
        self.after = nn.Sequential(local(dim, gain=0.0), ConvFeed(dim))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dim)."""
        x = self.before(x)
        return self.after(x + self.mixer(x))


class EfficientViT(Backbone):
    """EfficientViT's pyramid.

    Args:
        depths: blocks a stage.
        dims: width of each stage.
        heads: heads a stage.
        windows: largest side of a window, a stage.
        kernels: of the convolutions of the queries, one a head.
        head_dims: width of queries and keys, a stage.
        image: side of the images that tables are made for.
        channels: of the image.
        official: fill windows up as the release does.
    """

    def __init__(
        self,
        depths: Sequence[int],
        dims: Sequence[int],
        heads: Sequence[int],
        *,
        windows: Sequence[int] = (7, 7, 7),
        kernels: Sequence[int] = (7, 5, 3, 3),
        head_dims: Sequence[int] = (16, 16, 16),
        image: int = 224,
        channels: int = 3,
        official: bool = False,
    ) -> None:
        stages = []
        side = image // 16
        for level, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            side = -(-side // 2) if level else side
            down = squeezed_down(dims[level - 1], dim) if level else stem16(channels, dim)
            blocks = [
                EfficientViTBlock(
                    dim,
                    CascadedGroupAttention(
                        dim,
                        heads[level],
                        min(windows[level], side),
                        kernels=kernels,
                        head_dim=head_dims[level],
                        official=official,
                    ),
                )
                for _ in range(depth)
            ]
            stages.append(Stage(dim, 2 if level else 16, down, blocks))
        super().__init__(stages)

    def head(self, classes: int) -> nn.Module:
        return BatchNormHead(self.channels[-1], classes)


def efficientvit_m0(*, official: bool = False) -> EfficientViT:
    """63.2 % top-1 of ImageNet at 224."""
    return EfficientViT((1, 2, 3), (64, 128, 192), (4, 4, 4), kernels=(5, 5, 5, 5), official=official)


def efficientvit_m1(*, official: bool = False) -> EfficientViT:
    """68.4 %."""
    return EfficientViT((1, 2, 3), (128, 144, 192), (2, 3, 3), official=official)


def efficientvit_m2(*, official: bool = False) -> EfficientViT:
    """70.8 %."""
    return EfficientViT((1, 2, 3), (128, 192, 224), (4, 3, 2), official=official)


def efficientvit_m3(*, official: bool = False) -> EfficientViT:
    """73.4 %."""
    return EfficientViT((1, 2, 3), (128, 240, 320), (4, 3, 4), kernels=(5, 5, 5, 5), official=official)


def efficientvit_m4(*, official: bool = False) -> EfficientViT:
    """74.3 %."""
    return EfficientViT((1, 2, 3), (128, 256, 384), (4, 4, 4), official=official)


def efficientvit_m5(*, official: bool = False) -> EfficientViT:
    """77.1 %."""
    return EfficientViT((1, 3, 4), (192, 288, 384), (3, 3, 4), official=official)
