"""Locally enhanced position (CSWin, Dong et al. 2022): a depthwise convolution of the values, added to what attention
gives.

It works on any grid: the whole map (BiFormer) or, called on the parts of a plan, inside each group (CSWin).
"""

__all__ = ["LePE"]

from typing import Any

from torch import Tensor, nn

from core.layout import zero_padding
from core.ops.depthwise import depthwise


class LePE(nn.Module):
    """Depthwise convolution of values (B, *grid, C).

    Args:
        dim: width C.
        kernel: kernel size an axis; its length is the rank of the grids.
    """

    def __init__(self, dim: int, kernel: tuple[int, ...] = (3, 3)) -> None:
        super().__init__()
        convolution: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(kernel) - 1]
        own = convolution(dim, dim, kernel, groups=dim)
        self.weight, self.bias = own.weight, own.bias

    def forward(self, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """The branch's output; padded values count as zeros, as those beyond the border do."""
        return depthwise(zero_padding(v, mask), self.weight, self.bias)
