"""SHViT (Yun & Ro 2024): single-head attention on a fifth of the channels, strides 16, 32 and 64.

    x = x + norm(depthwise3(x)),   x = x + mixer(x),   x = x + W2 relu(W1 x)

All norms but the mixer's are batch norms behind convolutions, and the first stage has no attention.
`core.conv_norm.folded(network)` is the network to deploy.
"""

__all__ = ["SHViT", "shvit_s1", "shvit_s2", "shvit_s3", "shvit_s4"]

from collections.abc import Sequence

from torch import Tensor, nn

from apps.vision.backbones.base import Backbone, Stage
from apps.vision.backbones.squeezed import BatchNormHead, ConvFeed, local, squeezed_down, stem16
from core.mixers import SingleHeadAttention


class SHViTBlock(nn.Module):
    """Convolution, attention where there is a width for it, feed-forward layers.

    Args:
        dim: width of the tokens.
        width: channels that attend; 0 = no attention.
        head_dim: width of queries and keys.
    """

    def __init__(self, dim: int, width: int, head_dim: int = 16) -> None:
        super().__init__()
        self.local = local(dim, gain=0.0)
        self.mixer = SingleHeadAttention(dim, width, head_dim=head_dim) if width else None
        self.feed = ConvFeed(dim)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dim)."""
        x = self.local(x)
        return self.feed(x if self.mixer is None else x + self.mixer(x))


class SHViT(Backbone):
    """SHViT's pyramid.

    Args:
        depths: blocks a stage.
        dims: width of each stage.
        widths: channels that attend, a stage; 0 = no attention.
        head_dim: width of queries and keys.
        channels: of the image.
    """

    def __init__(
        self,
        depths: Sequence[int],
        dims: Sequence[int],
        widths: Sequence[int],
        *,
        head_dim: int = 16,
        channels: int = 3,
    ) -> None:
        stages = []
        for level, (dim, depth, width) in enumerate(zip(dims, depths, widths, strict=True)):
            down = squeezed_down(dims[level - 1], dim) if level else stem16(channels, dim)
            stages.append(
                Stage(dim, 2 if level else 16, down, [SHViTBlock(dim, width, head_dim) for _ in range(depth)])
            )
        super().__init__(stages)

    def head(self, classes: int) -> nn.Module:
        return BatchNormHead(self.channels[-1], classes)


def shvit_s1() -> SHViT:
    """72.8 % top-1 of ImageNet at 224."""
    return SHViT((2, 4, 5), (128, 224, 320), (0, 48, 68))


def shvit_s2() -> SHViT:
    """75.2 %."""
    return SHViT((2, 4, 5), (128, 308, 448), (0, 66, 96))


def shvit_s3() -> SHViT:
    """77.4 %."""
    return SHViT((3, 5, 5), (192, 352, 448), (0, 75, 96))


def shvit_s4() -> SHViT:
    """79.4 % at 256."""
    return SHViT((4, 7, 6), (224, 336, 448), (0, 72, 96))
