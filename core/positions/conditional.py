"""Conditional position (CPVT, Chu et al. 2021): x + depthwise convolution of x, in front of a block or of a branch.

The zeros around a map tell tokens where its border is, and the convolution carries that inwards from block to block.
DaViT has one in front of either branch, BiFormer and RMT one a block.
"""

__all__ = ["ConditionalPosition"]

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from core.layout import zero_padding
from core.ops.depthwise import depthwise


class ConditionalPosition(nn.Module):
    """x + activation(depthwise(x)) for tokens (B, *grid, C).

    Args:
        dim: width C.
        kernel: kernel size an axis; its length is the rank of the grids.
        activation: makes what stands behind the convolution; None = nothing.
    """

    def __init__(
        self, dim: int, kernel: tuple[int, ...] = (3, 3), *, activation: Callable[[], nn.Module] | None = None
    ) -> None:
        super().__init__()
        convolution: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(kernel) - 1]
        own = convolution(dim, dim, kernel, groups=dim)
        self.weight, self.bias = own.weight, own.bias
        self.activation = nn.Identity() if activation is None else activation()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Padded tokens count as zeros, as what lies beyond the border does."""
        return x + self.activation(depthwise(zero_padding(x, mask), self.weight, self.bias))
