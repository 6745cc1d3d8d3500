"""Recursive gated convolution g^n (HorNet, Rao et al. 2022): products of n orders of neighbouring tokens.

    p, q_0, ..., q_(n-1) = W_in x,   widths d / 2^(n-1), then d / 2^(n-1), ..., d / 2, d
    q = s conv(q);   x_0 = p q_0,   x_(i+1) = (W_i x_i) q_(i+1);   y = W_out x_(n-1)

One convolution serves all orders; s goes into its weights where it is a plain one.
"""

__all__ = ["RecursiveGatedConv"]

from collections.abc import Callable

from torch import Tensor, nn

from core.layout import zero_padding
from core.mixers.base import Mixer, init_linear
from core.mixers.convolution import DepthwiseConv
from core.ops.depthwise import depthwise


def _depthwise7(dim: int) -> Mixer:
    return DepthwiseConv(dim, (7, 7))


class RecursiveGatedConv(Mixer):
    """Gates of growing width.

    Args:
        dim: width of the tokens; 2^(order - 1) divides it.
        order: number n of products.
        scale: s.
        make_conv: makes what mixes tokens from the width of all gates together.
    """

    def __init__(
        self, dim: int, order: int = 5, *, scale: float = 1.0, make_conv: Callable[[int], Mixer] = _depthwise7
    ) -> None:
        super().__init__()
        if order < 1 or dim % 2 ** (order - 1):
            raise ValueError(f"RecursiveGatedConv: dim {dim} and order {order}; give a dim that 2^(order - 1) divides")
        self.widths = [dim // 2**i for i in reversed(range(order))]
        self.scale = scale
        self.enter = nn.Linear(dim, 2 * dim)
        self.conv = make_conv(sum(self.widths))
        self.steps = nn.ModuleList(nn.Linear(a, b) for a, b in zip(self.widths[:-1], self.widths[1:], strict=True))
        self.leave = nn.Linear(dim, dim)
        init_linear(self.enter, self.leave, *self.steps)  # type: ignore[arg-type]

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, *grid, dim).

        Raises:
            ValueError: for a mask where the convolution reads the whole map.
        """
        first, rest = self.enter(zero_padding(x, mask)).split([self.widths[0], sum(self.widths)], dim=-1)
        gates = self._convolved(rest, mask).split(self.widths, dim=-1)
        y = first * gates[0]
        for step, gate in zip(self.steps, gates[1:], strict=True):
            y = step(y) * gate
        return zero_padding(self.leave(y), mask)

    def _convolved(self, x: Tensor, mask: Tensor | None) -> Tensor:
        conv = self.conv
        if isinstance(conv, DepthwiseConv):
            bias = None if conv.bias is None else conv.bias * self.scale
            return depthwise(zero_padding(x, mask), conv.weight * self.scale, bias)
        if mask is not None:
            raise ValueError(f"RecursiveGatedConv: {type(conv).__name__} reads the whole map; leave the mask out")
        return conv(x) * self.scale
