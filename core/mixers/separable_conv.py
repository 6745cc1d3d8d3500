"""Inverted separable convolution (MobileNetV2, Sandler et al. 2018; ConvFormer's mixer, Yu et al. 2022):

y = W2 depthwise(act(W1 x)),    W1 widens the tokens, nothing has a bias
"""

__all__ = ["SepConv"]

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from core.channels.star_relu import StarReLU
from core.layout import zero_padding
from core.mixers.base import Mixer, init_linear
from core.mixers.convolution import DepthwiseConv


class SepConv(Mixer):
    """Wider, activation, depthwise convolution, narrower.

    Args:
        dim: width of the tokens.
        hidden: width between; 2 dim by default.
        kernel: kernel size an axis; its length is the rank of the grids.
        activation: makes the activation.
    """

    def __init__(
        self,
        dim: int,
        hidden: int | None = None,
        *,
        kernel: Sequence[int] = (7, 7),
        activation: Callable[[], nn.Module] = StarReLU,
    ) -> None:
        super().__init__()
        hidden = hidden or 2 * dim
        self.enter = nn.Linear(dim, hidden, bias=False)
        self.activation = activation()
        self.conv = DepthwiseConv(hidden, kernel, bias=False)
        self.leave = nn.Linear(hidden, dim, bias=False)
        init_linear(self.enter, self.leave)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, *grid, dim)."""
        x = self.activation(self.enter(zero_padding(x, mask)))
        # What the activation makes of padding is not 0, because of its bias; the convolution takes it out.
        return self.leave(self.conv(x, mask=mask))
