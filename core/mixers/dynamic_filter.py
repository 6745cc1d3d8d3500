"""Depthwise filters made from the tokens themselves (the dynamic local attention of DLGSANet, Li et al. 2023).

    y_p,c = sum_o w_p,g(c),o x_(p+o),c,   w = W_2 (depthwise k x k of W_1 x), no activation and no normaliser

Decided: the release counts channels a group; here the number of groups is given. Without gradients the weights, which
are k^2 groups numbers a token, are made a strip of rows at a time.
"""

__all__ = ["DynamicFilter"]

import torch
from torch import Tensor, nn

from core.layout import zero_padding
from core.mixers.base import Mixer
from core.mixers.convolution import DepthwiseConv
from core.ops.dynamic_filter import dynamic_filter, dynamic_filter_strips


class DynamicFilter(Mixer):
    """Every token gets the kernels it is filtered with from its neighbourhood.

    Args:
        dim: width of the tokens, which form maps.
        groups: groups of channels that share a kernel.
        kernel: odd extent of the kernels.
        reduction: the kernels are made from dim // reduction channels.
        bias: whether what makes the kernels has one.

    Raises:
        ValueError: where the number of groups does not divide dim, or the kernel is even.
    """

    def __init__(self, dim: int, groups: int, *, kernel: int = 7, reduction: int = 4, bias: bool = True) -> None:
        super().__init__()
        if dim % groups or kernel % 2 == 0 or dim < reduction:
            raise ValueError(
                f"DynamicFilter: dim {dim}, {groups} groups, kernel {kernel}, reduction {reduction}; give groups that "
                "divide dim, an odd kernel and a reduction up to dim"
            )
        self.groups = groups
        self.kernel = kernel
        self.reduce = nn.Linear(dim, dim // reduction, bias=bias)
        self.near = DepthwiseConv(dim // reduction, (kernel, kernel), bias=bias)
        self.weights = nn.Linear(dim // reduction, kernel**2 * groups, bias=bias)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, H, W, dim)."""
        x = zero_padding(x, mask)
        source = self.near(zero_padding(self.reduce(x), mask))
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            y = dynamic_filter(x, self._kernels(source))
        else:
            y = dynamic_filter_strips(x, lambda start, stop: self._kernels(source[:, start:stop]), self.kernel)
        return zero_padding(y, mask)

    def _kernels(self, source: Tensor) -> Tensor:
        """(B, rows, W, dim / reduction) -> (B, rows, W, groups, k, k), in memory one plane a tap, as the op reads."""
        rows, bias = source.flatten(1, 2).mT, self.weights.bias
        weight = self.weights.weight.expand(len(rows), -1, -1)
        planes = weight @ rows if bias is None else torch.baddbmm(bias[:, None], weight, rows)
        taps = planes.unflatten(2, source.shape[1:3]).movedim(1, -1)
        return taps.unflatten(-1, (self.groups, self.kernel, self.kernel))
