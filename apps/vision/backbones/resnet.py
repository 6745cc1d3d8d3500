"""ResNet (He et al. 2016) with the stride in the 3 x 3, as torchvision, timm and detectron2 have it.

    basic       relu(short(x) + N 3x3 relu(N 3x3 x))
    bottleneck  relu(short(x) + N W relu(N 3x3 relu(N W x))),   four times as wide behind as inside

Stem 7 x 7 / 2, norm, ReLU, largest of 3 x 3 / 2. The first block of the later stages halves the map; short(x) is x, or
N W x where width or size change. Levels have ceil(size / stride) tokens.

Decided: with a mask, padding is 0 in front of every convolution; the statistics of batch norms in training contain it.
"""

__all__ = ["ResNet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.backbones.base import Backbone, Stage
from apps.vision.backbones.classifier import PoolHead
from core.conv_norm import ConvNorm
from core.layout import zero_padding


def _halved(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask[:, ::2, ::2]


class Stem(nn.Module):
    """What stands before the blocks.

    Args:
        channels: of the image.
        dim: width of the tokens.
        stride: 4 with the pooling, 2 without, 1 for a single 3 x 3.
    """

    def __init__(self, channels: int, dim: int, stride: int = 4) -> None:
        super().__init__()
        self.stride = stride
        self.conv = ConvNorm(channels, dim, 3) if stride == 1 else ConvNorm(channels, dim, 7, stride=2)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None, None]:
        """x (B, H, W, channels) -> (B, ceil(H / stride), ceil(W / stride), dim)."""
        x = torch.relu(self.conv(zero_padding(x, mask)))
        if self.stride == 1:
            return x, mask, None
        mask = _halved(mask)
        if self.stride == 2:
            return x, mask, None
        # Nothing is below 0, so 0 is no largest value of anything real.
        x = F.max_pool2d(zero_padding(x, mask).movedim(-1, 1), 3, 2, 1).movedim(1, -1)
        return x, _halved(mask), None


class Block(nn.Module):
    """Either kind of residual block.

    Args:
        dim, width: of x and of the result.
        stride: fine tokens a coarse one, an axis.
        bottleneck: a quarter of the width inside; two 3 x 3 of the whole width otherwise.
    """

    def __init__(self, dim: int, width: int, stride: int = 1, *, bottleneck: bool) -> None:
        super().__init__()
        inner = width // 4 if bottleneck else width
        self.stride = stride
        self.enter = ConvNorm(dim, inner) if bottleneck else None
        self.middle = ConvNorm(inner if bottleneck else dim, inner, 3, stride=stride)
        self.leave = ConvNorm(inner, width, 1 if bottleneck else 3)
        self.short = ConvNorm(dim, width) if stride > 1 or dim != width else None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, H, W, dim), mask (B, H, W) -> (B, ceil(H / stride), ceil(W / stride), width)."""
        # Not by a strided 1 x 1: its backward on channels-last maps of few channels writes beyond its memory on a CPU
        # (seen in torch 2.14, 4 to 6 channels on 8 x 8).
        short = x if self.short is None else self.short(x[:, :: self.stride, :: self.stride])
        if self.enter is not None:
            x = torch.relu(self.enter(x))
        x = torch.relu(self.middle(zero_padding(x, mask)))
        return torch.relu(self.leave(zero_padding(x, self.coarse(mask))) + short)

    def coarse(self, mask: Tensor | None) -> Tensor | None:
        """The mask of the result."""
        return _halved(mask) if self.stride == 2 else mask


class Down(nn.Module):
    """A stage's first block, with the mask of its result.

    Args:
        block: which changes width, and mostly size.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None, None]:
        """x (B, H, W, C), mask (B, H, W)."""
        return self.block(x, mask), self.block.coarse(mask), None


class ResNet(Backbone):
    """ResNet's pyramid.

    Args:
        depths: blocks a stage.
        dims: width of each stage.
        bottleneck: kind of the blocks.
        stem_dim: width of the stem.
        stem_stride: 4 as published; 2 without its pooling and 1 with a 3 x 3 in place of it, for small images.
        stem: hand out the stem's result, too, as the finest of five levels (kMaX-DeepLab for Cityscapes).
        eps, momentum: of the batch norms; DeepLab's releases have 1e-3 and 0.01.
        channels: of the image.

    Raises:
        ValueError: another stride of the stem.
    """

    def __init__(
        self,
        depths: Sequence[int] = (3, 4, 6, 3),
        dims: Sequence[int] = (256, 512, 1024, 2048),
        *,
        bottleneck: bool = True,
        stem_dim: int = 64,
        stem_stride: int = 4,
        stem: bool = False,
        eps: float = 1e-5,
        momentum: float = 0.1,
        channels: int = 3,
    ) -> None:
        if stem_stride not in (1, 2, 4):
            raise ValueError(f"ResNet: stem_stride {stem_stride}; give 1, 2 or 4")
        entry = Stem(channels, stem_dim, stem_stride)
        stages = [Stage(stem_dim, stem_stride, entry, [])] if stem else []
        before = stem_dim
        for level, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            stride = 2 if level else 1
            blocks = [Block(dim if n else before, dim, 1 if n else stride, bottleneck=bottleneck) for n in range(depth)]
            if level or stem:
                stages.append(Stage(dim, stride, Down(blocks[0]), blocks[1:]))
            else:
                stages.append(Stage(dim, stem_stride, entry, blocks))
            before = dim
        super().__init__(stages)
        self.stem = stem
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(part, nn.BatchNorm2d):
                part.eps, part.momentum = eps, momentum

    def head(self, classes: int) -> nn.Module:
        return PoolHead(self.channels[-1], classes)


def resnet18(*, stem: bool = False, eps: float = 1e-5, momentum: float = 0.1) -> ResNet:
    """69.8 % top-1 of ImageNet at 224 (torchvision's first weights, as below)."""
    dims = (64, 128, 256, 512)
    return ResNet((2, 2, 2, 2), dims, bottleneck=False, stem=stem, eps=eps, momentum=momentum)


def resnet34(*, stem: bool = False, eps: float = 1e-5, momentum: float = 0.1) -> ResNet:
    """73.3 %."""
    dims = (64, 128, 256, 512)
    return ResNet((3, 4, 6, 3), dims, bottleneck=False, stem=stem, eps=eps, momentum=momentum)


def resnet50(*, stem: bool = False, eps: float = 1e-5, momentum: float = 0.1) -> ResNet:
    """76.1 %."""
    return ResNet(stem=stem, eps=eps, momentum=momentum)


def resnet101(*, stem: bool = False, eps: float = 1e-5, momentum: float = 0.1) -> ResNet:
    """77.4 %."""
    return ResNet((3, 4, 23, 3), stem=stem, eps=eps, momentum=momentum)


def resnet152(*, stem: bool = False, eps: float = 1e-5, momentum: float = 0.1) -> ResNet:
    """78.3 %."""
    return ResNet((3, 8, 36, 3), stem=stem, eps=eps, momentum=momentum)
