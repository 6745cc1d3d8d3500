"""A convolution and a batch norm of channels-last tokens, which are one convolution in use.

    y = norm(conv(x)),   or   x + norm(conv(x))

`folded` gives a copy of a network in which each of them is a single convolution with a bias: W' = W gamma / sigma,
b' = beta + (b - mean) gamma / sigma, and what is added becomes 1 at the middle of the kernel.  SHViT and EfficientViT
are deployed like that.  The copy is for inference: train the network it was made from.
"""

__all__ = ["ConvNorm", "folded"]

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Network = TypeVar("Network", bound=nn.Module)


class ConvNorm(nn.Module):
    """(B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), dim).

    Args:
        in_channels: width of the tokens.
        dim: width of the result.
        kernel: side of the kernel, odd.
        stride: fine tokens a coarse one, an axis.
        groups: of the convolution; in_channels for a depthwise one.
        bias: whether the convolution has one.
        residual: add x to the result.
        gain: first value of the norm's weight; 0 lets a branch begin at 0.

    Raises:
        ValueError: for an even kernel, or x added where the shapes differ.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        residual: bool = False,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"ConvNorm: kernel {kernel}; give an odd size")
        if residual and (stride > 1 or in_channels != dim):
            raise ValueError(f"ConvNorm: residual from {in_channels} to {dim} channels with stride {stride}")
        self.conv = nn.Conv2d(in_channels, dim, kernel, stride, kernel // 2, groups=groups, bias=bias)
        self.norm = nn.BatchNorm2d(dim)
        self.residual = residual
        nn.init.constant_(self.norm.weight, gain)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, in_channels)."""
        y = _convolved(x, self.conv)
        if self.norm.training:
            y = self.norm(y).movedim(1, -1)
        else:
            # Not by torch's batch norm: its backward outside of training is wrong for a batch of one whose gradient
            # has certain strides (seen in torch 2.14; EfficientViT's release meets them).
            norm = self.norm
            assert norm.running_mean is not None and norm.running_var is not None
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            y = torch.addcmul(norm.bias - norm.running_mean * scale, y.movedim(1, -1), scale)
        return x + y if self.residual else y

    def folded(self) -> "_Folded":
        """The same as one convolution with a bias, by the running statistics."""
        norm, conv = self.norm, self.conv
        assert norm.running_mean is not None and norm.running_var is not None
        with torch.no_grad():
            # In float64, so that nothing but the last rounding is lost.
            scale = norm.weight.double() * torch.rsqrt(norm.running_var.double() + norm.eps)
            before = 0.0 if conv.bias is None else conv.bias.double()
            bias = norm.bias.double() + (before - norm.running_mean.double()) * scale
            weight = conv.weight.double() * scale[:, None, None, None]
            if self.residual:
                middle = conv.kernel_size[0] // 2
                places = torch.arange(len(weight), device=weight.device)
                weight[places, places % weight.shape[1], middle, middle] += 1
        merged = nn.Conv2d(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            groups=conv.groups,
            device=conv.weight.device,
            dtype=conv.weight.dtype,
        )
        with torch.no_grad():
            merged.weight.copy_(weight)
            assert merged.bias is not None
            merged.bias.copy_(bias)
        return _Folded(merged)


class _Folded(nn.Module):
    """A convolution of channels-last tokens; one of a single token is a linear layer."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        if conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.groups == 1:
            return F.linear(x, conv.weight.flatten(1), conv.bias)
        return _convolved(x, conv).movedim(1, -1)


def folded(network: Network) -> Network:
    """A copy of a network for inference, in eval mode, with every `ConvNorm` in it as one convolution."""
    network = copy.deepcopy(network).eval()
    for part in list(network.modules()):
        for name, child in part.named_children():
            if isinstance(child, ConvNorm):
                setattr(part, name, child.folded())
    return network


def _convolved(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """(B, H, W, C) -> (B, C', H', W'), a single token's convolution as a linear layer on tokens."""
    if conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.groups == 1:
        return F.linear(x, conv.weight.flatten(1), conv.bias).movedim(-1, 1)
    return conv(x.movedim(-1, 1))
