"""MaxViT (Tu et al. 2022): an inverted bottleneck, attention in blocks of the map, attention in a grid over the map.

    mbconv(x) = short(x) + W2 gate(act(norm(local(act(norm(W1 norm(x)))))))    local: depthwise 3 x 3
    block(x) = y + mlp(norm(y)),  y = x + attention(norm(x))                   once in windows, once in the grid

A group of the grid has `window` tokens an axis, spread evenly over the whole map, so features depend on its extent and
there is no mask.  Strides 4, 8, 16, 32: a stem of stride 2, then a bottleneck of stride 2 at the start of each level.
The tanh form of GELU, zeros at the end of a map before those in front (TensorFlow's SAME).

Decided: any size, where the release wants maps that its windows divide: windows stay partial, groups of the grid hold
fewer tokens, averages are over what exists.  Batch norms are folded into the layers beside them at inference.
torchvision's network of that name is another one (scores scaled by the width of the token, other stem and shortcuts).
"""

__all__ = ["MBConv", "MaxViT", "maxvit_base", "maxvit_blocks", "maxvit_small", "maxvit_tiny"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.backbones.base import Backbone, Stage, drop_paths, init_linears
from core.blocks import Block, DropPath
from core.channels import MLP, ChannelAttention, GELUTanh
from core.mixers import PartitionAttention
from core.mixers.weight_cache import WeightCache
from core.ops.gelu_tanh import gelu_tanh
from core.partitions import Partition, Spread, Windows
from core.positions import RelativeTable


class MBConv(nn.Module):
    """Inverted bottleneck with squeeze and excitation (MobileNetV2, EfficientNet), norm in front.

    Args:
        in_channels: width of the tokens (B, H, W, in_channels).
        dim: width of the result.
        stride: fine tokens a coarse one, an axis.
        drop_path: share of samples whose branch is left out in training.
    """

    def __init__(self, in_channels: int, dim: int, stride: int = 1, *, drop_path: float = 0.0) -> None:
        super().__init__()
        hidden = 4 * dim
        self.stride = stride
        self.short = nn.Identity() if in_channels == dim else nn.Linear(in_channels, dim)
        self.norm = _batch_norm(in_channels)
        self.enter = nn.Linear(in_channels, hidden, bias=False)
        self.enter_norm = _batch_norm(hidden)
        self.local = nn.Conv2d(hidden, hidden, 3, stride, groups=hidden, bias=False)
        self.local_norm = _batch_norm(hidden)
        self.gate = ChannelAttention(hidden, dim // 4, activation=nn.SiLU)
        self.leave = nn.Linear(hidden, dim)
        self.drop_path = DropPath(drop_path)
        self._cache = WeightCache()

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, in_channels) -> (B, ceil(H / stride), ceil(W / stride), dim)."""
        short = self.short(x if self.stride == 1 else _average(x))
        if self.training:
            y = gelu_tanh(_normed(self.enter_norm, self.enter(_normed(self.norm, x))))
            y = _normed(self.local_norm, _convolved(y, self.local.weight, None, self.stride))
        else:
            enter, enter_bias, local, local_bias = self._folded()
            y = gelu_tanh(F.linear(x, enter, enter_bias))
            y = _convolved(y, local, local_bias, self.stride)
        return short + self.drop_path(self.leave(self.gate(gelu_tanh(y))))

    def train(self, mode: bool = True) -> "MBConv":
        """Also drops what was kept for inference."""
        self._cache.clear()
        return super().train(mode)

    def _folded(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights and biases of the first layer and of the convolution with the norms around them."""
        norms = (self.norm, self.enter_norm, self.local_norm)
        enter, local = self.enter.weight, self.local.weight

        def make() -> tuple[Tensor, Tensor, Tensor, Tensor]:
            (before, shift), (scale, bias), (local_scale, local_bias) = map(_affine, norms)
            return (
                scale[:, None] * enter * before,
                scale * (enter @ shift) + bias,
                local * local_scale[:, None, None, None],
                local_bias,
            )

        statistics = [t for norm in norms for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var)]
        return self._cache.get("folded", [enter, local, *statistics], make)


class MaxViT(Backbone):
    """(B, channels, H, W) -> feature maps.

    Args:
        dims: width of each level.
        depths: blocks in each level.
        stem: width of the stem.
        window: tokens a side of a window and of a group of the grid; 7 at 224 pixels, 12 at 384.
        head_dim: width of a head.
        channels: of the image.
        drop_path: share of samples whose branch is left out in the last block, rising evenly from 0.
    """

    def __init__(
        self,
        dims: Sequence[int] = (64, 128, 256, 512),
        depths: Sequence[int] = (2, 2, 5, 2),
        *,
        stem: int = 64,
        window: int = 7,
        head_dim: int = 32,
        channels: int = 3,
        drop_path: float = 0.2,
    ) -> None:
        stages: list[Stage] = []
        for dim, shares in zip(dims, drop_paths(drop_path, depths), strict=True):
            before = stages[-1].dim if stages else stem
            down: nn.Module = MBConv(before, dim, 2, drop_path=shares[0])
            if not stages:
                down = nn.Sequential(_Stem(channels, stem), down)
            blocks: list[nn.Module] = []
            for number, share in enumerate(shares):
                if number:
                    blocks.append(MBConv(dim, dim, drop_path=share))
                blocks += maxvit_blocks(dim, dim // head_dim, (window, window), drop_path=share)
            stages.append(Stage(dim, 2 if stages else 4, down, blocks))
        super().__init__(stages)
        init_linears(self)

    def head(self, classes: int) -> nn.Module:
        return _Head(self.channels[-1], classes)


def maxvit_blocks(dim: int, heads: int, window: tuple[int, int], *, drop_path: float = 0.0) -> list[Block]:
    """Attention in windows, then in the grid."""
    partitions: tuple[Partition, ...] = (Windows(window), Spread(window))
    return [
        Block(
            dim,
            PartitionAttention(dim, heads, partition, score_bias=RelativeTable(heads, window)),
            MLP(dim, 4 * dim, activation=GELUTanh),
            drop_path=drop_path,
        )
        for partition in partitions
    ]


class _Stem(nn.Module):
    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, dim, 3, 2)
        self.norm = _batch_norm(dim)
        self.leave = nn.Conv2d(dim, dim, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = gelu_tanh(_normed(self.norm, _convolved(x, self.enter.weight, self.enter.bias, 2)))
        return _convolved(y, self.leave.weight, self.leave.bias, 1)


class _Head(nn.Module):
    """linear(tanh(linear(norm(mean))))."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.enter = nn.Linear(dim, dim)
        self.linear = nn.Linear(dim, classes)
        init_linears(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(torch.tanh(self.enter(self.norm(x.mean((1, 2))))))


def _batch_norm(dim: int) -> nn.BatchNorm1d:
    return nn.BatchNorm1d(dim, eps=1e-3, momentum=0.01)


def _normed(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Batch norm of channels-last tokens."""
    return norm(x.flatten(0, -2)).view_as(x)


def _affine(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch norm by its running statistics."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """A convolution of (B, H, W, C) to ceil(size / stride); of the zeros it lacks, the odd one stands at the end."""
    sides: list[int] = []
    for size, kernel in zip(x.shape[2:0:-1], weight.shape[:1:-1], strict=True):
        missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        sides += [missing // 2, missing - missing // 2]
    padding: tuple[int, int] | int = 0
    if sides[0] == sides[1] and sides[2] == sides[3]:
        padding = (sides[2], sides[0])
    else:
        x = F.pad(x, (0, 0, *sides))
    groups = x.shape[-1] // weight.shape[1]
    return F.conv2d(x.movedim(-1, 1), weight, bias, stride, padding, groups=groups).movedim(1, -1)


def _average(x: Tensor) -> Tensor:
    """Means of 2 x 2 tokens, of fewer at the end of an odd axis."""
    pooled = F.avg_pool2d(x.movedim(-1, 1), 2, ceil_mode=True, count_include_pad=False)
    return pooled.movedim(1, -1)


def maxvit_tiny(*, drop_path: float = 0.2) -> MaxViT:
    """30.9 M parameters with 1000 classes."""
    return MaxViT(drop_path=drop_path)


def maxvit_small(*, drop_path: float = 0.3) -> MaxViT:
    """68.9 M parameters with 1000 classes."""
    return MaxViT((96, 192, 384, 768), drop_path=drop_path)


def maxvit_base(*, drop_path: float = 0.4) -> MaxViT:
    """119.5 M parameters with 1000 classes."""
    return MaxViT((96, 192, 384, 768), (2, 6, 14, 2), drop_path=drop_path)
