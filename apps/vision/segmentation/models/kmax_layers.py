"""What kMaX-DeepLab is made of, on tokens (B, H, W, C): convolutions with their norm, and resizing by odd sizes.

The norms have DeepLab's constants (eps 1e-3, momentum 0.01). Weights begin as He's normal numbers cut at two deviations
whose fan is the number of channels, the kernel's area aside; depthwise ones as Glorot's.
"""

__all__ = ["ConvNorm", "odd", "resized", "truncated"]

import math

from torch import Tensor, nn
from torch.nn import functional as F

from core.layout import zero_padding
from core.mixers.position_sensitive import TokenBatchNorm


def truncated(weight: Tensor, std: float) -> None:
    """Normal numbers cut at two deviations, in place."""
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


class ConvNorm(nn.Module):
    """act(norm(conv(x))), the map's size kept; kernel 1 serves tokens (B, *grid, dim) of any grid.

    Args:
        dim, width: of x and of the result.
        kernel: odd.
        dilation: distance of the kernel's taps.
        depthwise: every channel by itself; then width is dim.
        bias: whether the convolution has one.
        act: whether GELU follows.
        gain: first value of the norm's weight; 0 lets a branch begin at 0.
        std: of the first weights, where it is not He's.
    """

    def __init__(
        self,
        dim: int,
        width: int,
        kernel: int = 1,
        *,
        dilation: int = 1,
        depthwise: bool = False,
        bias: bool = False,
        act: bool = False,
        gain: float = 1.0,
        std: float | None = None,
    ) -> None:
        super().__init__()
        self.conv: nn.Linear | nn.Conv2d
        if kernel == 1:
            self.conv = nn.Linear(dim, width, bias=bias)
        else:
            around, groups = dilation * (kernel // 2), dim if depthwise else 1
            self.conv = nn.Conv2d(dim, width, kernel, 1, around, dilation, groups, bias=bias)
        self.norm = TokenBatchNorm(width, gain=gain)
        self.act = act
        if depthwise:
            nn.init.xavier_uniform_(self.conv.weight)
        else:
            truncated(self.conv.weight, math.sqrt(2 / dim) if std is None else std)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, H, W, dim), mask (B, H, W), True = real -> (B, H, W, width), 0 at padding before the activation."""
        x = zero_padding(x, mask)
        y = self.conv(x) if isinstance(self.conv, nn.Linear) else self.conv(x.movedim(-1, 1)).movedim(1, -1)
        y = self.norm(y, mask)
        return F.gelu(y) if self.act else y


def odd(length: int) -> bool:
    """Whether a map's corners are aligned: DeepLab's maps are 2^n + 1 long, and their first and last places meet."""
    return length % 2 == 1


def resized(x: Tensor, size: tuple[int, int], corners: bool) -> Tensor:
    """Tokens (B, h, w, C) of another map, bilinear; its corners stay where they are or its edges do."""
    if x.shape[1:3] == size:
        return x
    return F.interpolate(x.movedim(-1, 1), size, mode="bilinear", align_corners=corners).movedim(1, -1)
