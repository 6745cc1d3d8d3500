"""Parts of RGT (Chen et al. 2024): the gated feed-forward, the block with its learned residual, ends of groups."""

__all__ = ["RGTBlock", "RGTGroup", "SpatialGateMLP", "one_conv", "three_convs"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.superres.models.shell import TokenConv
from core.blocks import Block
from core.mixers.convolution import DepthwiseConv


def one_conv(dim: int) -> nn.Module:
    """A 3 x 3 convolution of tokens."""
    return TokenConv(dim, dim, 3, padding=1)


def three_convs(dim: int) -> nn.Module:
    """Two 3 x 3 convolutions around a 1 x 1 at a quarter of the width."""
    narrow = dim // 4
    return nn.Sequential(
        TokenConv(dim, narrow, 3, padding=1),
        nn.LeakyReLU(0.2),
        TokenConv(narrow, narrow, 1),
        nn.LeakyReLU(0.2),
        TokenConv(narrow, dim, 3, padding=1),
    )


class SpatialGateMLP(nn.Module):
    """W_2 (a * depthwise 3 x 3 of LN(b)), [a, b] = GELU(W_1 x); on tokens (B, H, W, dim).

    Args:
        dim: width of the tokens.
        hidden: even width of a and b together.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        if hidden % 2:
            raise ValueError(f"SpatialGateMLP: hidden {hidden}; give an even width, which is halved")
        self.enter = nn.Linear(dim, hidden)
        self.norm = nn.LayerNorm(hidden // 2)
        self.near = DepthwiseConv(hidden // 2)
        self.leave = nn.Linear(hidden // 2, dim)

    def forward(self, x: Tensor) -> Tensor:
        # Two products instead of one: each half then lies in one piece, as the norm and the convolution want it.
        halves = zip(self.enter.weight.chunk(2), self.enter.bias.chunk(2), strict=True)
        a, b = (F.gelu(F.linear(x, weight, bias)) for weight, bias in halves)
        return self.leave(a * self.near(self.norm(b)))


class RGTBlock(nn.Module):
    """z + gamma x, z the block's output and x its input: a learned residual a channel.

    Args:
        dim: width of the tokens.
        mixer: mixes tokens.
        feed: the feed-forward.
        drop_path: share of samples whose branches are left out in training.
    """

    def __init__(self, dim: int, mixer: nn.Module, feed: nn.Module, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.block = Block(dim, mixer, feed, drop_path=drop_path)
        self.gamma = nn.Parameter(torch.full((dim,), 1e-4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.block(x), self.gamma, x)


class RGTGroup(nn.Module):
    """Blocks, their join, and the input added.

    Args:
        dim: width of the tokens.
        blocks: the blocks.
        make_join: makes the convolution after them from the width.
    """

    def __init__(self, dim: int, blocks: Sequence[nn.Module], make_join: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.join = make_join(dim)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.join(self.blocks(x))
