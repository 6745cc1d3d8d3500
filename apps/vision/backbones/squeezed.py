"""What SHViT and EfficientViT share: a stem of stride 16, convolutions with batch norms, merging that squeezes."""

__all__ = ["BatchNormHead", "ConvFeed", "SqueezeMerging", "local", "squeezed_down", "stem16"]

from itertools import pairwise

import torch
from torch import Tensor, nn

from core.channels import ChannelAttention
from core.conv_norm import ConvNorm


class ConvFeed(nn.Module):
    """x + W2 relu(W1 x), with a batch norm behind each layer; the second begins at 0.

    Args:
        dim: width of the tokens.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.enter = ConvNorm(dim, 2 * dim)
        self.leave = ConvNorm(2 * dim, dim, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dim)."""
        return x + self.leave(torch.relu(self.enter(x)))


class SqueezeMerging(nn.Module):
    """Half the size: wider, depthwise 3 x 3 / 2, squeeze and excitation, narrower.

    Args:
        dim: width of the fine tokens.
        out: width of the coarse tokens.
    """

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        hidden = 4 * dim
        self.enter = ConvNorm(dim, hidden)
        self.local = ConvNorm(hidden, hidden, 3, stride=2, groups=hidden)
        # A quarter, rounded to a multiple of 8.
        self.squeeze = ChannelAttention(hidden, max(8, (dim + 4) // 8 * 8))
        self.leave = ConvNorm(hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dim) -> (B, ceil(H / 2), ceil(W / 2), out)."""
        return self.leave(self.squeeze(torch.relu(self.local(torch.relu(self.enter(x))))))


class BatchNormHead(nn.Module):
    """Mean over the map, batch norm, linear layer.

    Args:
        dim: width of the last feature map.
        classes: number of classes.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim)
        self.linear = nn.Linear(dim, classes)
        nn.init.trunc_normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, h, w, dim) -> (B, classes)."""
        return self.linear(self.norm(x.mean((1, 2))))


def local(dim: int, gain: float = 1.0) -> ConvNorm:
    """x + norm(depthwise3(x))."""
    return ConvNorm(dim, dim, 3, groups=dim, residual=True, gain=gain)


def stem16(channels: int, dim: int) -> nn.Sequential:
    """Four 3 x 3 / 2 with ReLU between."""
    widths = (channels, dim // 8, dim // 4, dim // 2, dim)
    steps: list[nn.Module] = []
    for number, (a, b) in enumerate(pairwise(widths)):
        steps += [nn.ReLU()] if number else []
        steps.append(ConvNorm(a, b, 3, stride=2))
    return nn.Sequential(*steps)


def squeezed_down(dim: int, out: int) -> nn.Sequential:
    """Merging between two residual convolutions with their feed-forward layers."""
    return nn.Sequential(local(dim), ConvFeed(dim), SqueezeMerging(dim, out), local(out), ConvFeed(out))
