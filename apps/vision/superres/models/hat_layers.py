"""The blocks of HAT: windows beside convolutions, then windows that overlap.

    hybrid block:  n = norm(x),  y = x + attention(n) + s * branch(n),  result = y + mlp(norm(y))
    branch(n) = channel attention of conv(gelu(conv(n)))
    group(x) = conv(overlapping block(hybrid blocks(x))) + x

The convolutions see the whole unshifted map; s is a constant.  The gate of the channel attention, s and both residuals
are one multiply-add.
"""

__all__ = ["ConvBranch", "HybridBlock", "HybridGroup", "overlapping_block"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.superres.models.shell import TokenConv
from core.blocks import Block, DropPath
from core.channels import MLP, ChannelAttention
from core.mixers import OverlappingAttention, WindowAttention


class ConvBranch(nn.Module):
    """Two 3 x 3 convolutions through a narrow layer and channel attention; (B, H, W, dim) -> the same shape.

    Args:
        dim: width of the tokens.
        compress: dim over the width between the convolutions.
        squeeze: dim over the width of the channel attention.
    """

    def __init__(self, dim: int, compress: int = 3, squeeze: int = 30) -> None:
        super().__init__()
        self.enter = TokenConv(dim, dim // compress, 3, padding=1)
        self.leave = TokenConv(dim // compress, dim, 3, padding=1)
        self.attention = ChannelAttention(dim, dim // squeeze)

    def forward(self, x: Tensor) -> Tensor:
        features, gate = self.apart(x)
        return features * gate

    def apart(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, H, W, dim) and the gate (B, 1, 1, dim) they are to be multiplied by."""
        features = self.leave(F.gelu(self.enter(x)))
        return features, self.attention.gate(features)


class HybridBlock(nn.Module):
    """Attention in windows and convolutions side by side, then an MLP; (B, H, W, dim) -> the same shape.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        window: side of the windows.
        shift: where the first full window starts, on both axes.
        compress: dim over the width between the convolutions.
        squeeze: dim over the width of the channel attention.
        conv_scale: factor s of the convolutions.
        mlp_ratio: width of the MLP's hidden layer over dim.
        bias: whether q, k and v have one.
        score_scale: factor of the scores; width of a head ** -0.5 by default.
        drop_path: share of samples whose attention and MLP are left out in training; the convolutions stay.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window: int,
        shift: int,
        *,
        compress: int = 3,
        squeeze: int = 30,
        conv_scale: float = 0.01,
        mlp_ratio: float = 2.0,
        bias: bool = True,
        score_scale: float | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.conv_scale = conv_scale
        self.norm1 = nn.LayerNorm(dim)
        self.attention = WindowAttention(
            dim, heads, (window, window), shift=(shift, shift), bias=bias, scale=score_scale, official=True
        )
        self.conv = ConvBranch(dim, compress, squeeze)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, int(dim * mlp_ratio), recompute=True)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm1(x)
        features, gate = self.conv.apart(n)
        y = torch.addcmul(x + self.drop_path(self.attention(n)), features, gate * self.conv_scale)
        return y + self.drop_path(self.mlp(self.norm2(y)))


def overlapping_block(
    dim: int,
    heads: int,
    window: int,
    overlap: int,
    *,
    mlp_ratio: float = 2.0,
    bias: bool = True,
    score_scale: float | None = None,
) -> Block:
    """Attention to overlapping windows and an MLP, each x + branch(norm(x)).

    Args:
        dim: width of the tokens.
        heads: number of heads.
        window: side of the windows of queries.
        overlap: how far keys reach beyond them, on each side.
        mlp_ratio: width of the MLP's hidden layer over dim.
        bias: whether q, k and v have one.
        score_scale: factor of the scores; width of a head ** -0.5 by default.
    """
    mixer = OverlappingAttention(
        dim, heads, (window, window), (overlap, overlap), bias=bias, scale=score_scale, official=True
    )
    return Block(dim, mixer, MLP(dim, int(dim * mlp_ratio), recompute=True))


class HybridGroup(nn.Module):
    """Hybrid blocks, an overlapping block, a convolution and a residual; (B, H, W, dim) -> the same shape.

    Args:
        blocks: the hybrid blocks.
        overlapping: the block after them.
        conv: of the result, or `nn.Identity()`.
    """

    def __init__(self, blocks: Sequence[nn.Module], overlapping: nn.Module, conv: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.overlapping = overlapping
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for block in self.blocks:
            y = block(y)
        return self.conv(self.overlapping(y)) + x
