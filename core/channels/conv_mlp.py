"""Feed-forward network with a convolution inside (Mix-FFN of SegFormer, Xie et al. 2021): W2 act(depthwise(W1 x)).

The zeros around a map tell the convolution where its border is, which is all the position that SegFormer has.
"""

__all__ = ["ConvMLP"]

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from core.layout import zero_padding
from core.ops.depthwise import depthwise


class ConvMLP(nn.Module):
    """Linear, depthwise convolution, activation, linear; (B, *grid, dim) -> the same shape.

    Args:
        dim: width of the tokens.
        hidden: width between the layers.
        kernel: of the convolution; its length is the rank of the grids.
        activation: makes the activation.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        kernel: Sequence[int] = (3, 3),
        *,
        activation: Callable[[], nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(dim, hidden)
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(kernel) - 1]
        self.local = convolution(hidden, hidden, tuple(kernel), groups=hidden)  # type: ignore[arg-type]
        self.activation = activation()
        self.leave = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Padding counts as what lies beyond the border."""
        hidden = zero_padding(self.enter(x), mask)
        return self.leave(self.activation(depthwise(hidden, self.local.weight, self.local.bias)))
