"""The temporal U-Net of Squeezeformer (Kim et al. 2022, arXiv 2206.00888): layers in the middle of a stack run at half
the rate, and a residual around them brings the full one back.

    z = layers(reduce(x)),    y = x + W repeat(z) + b

reduce is `core.resample.TimeReduction`; every coarse token is repeated for the fine ones it stands for, and the
sequence cut to its length.  In Squeezeformer it stands around all layers from the middle of the stack to the one before
the last, which saves about half of their cost.

Shapes: x (B, T, dim) with a mask (B, T).  Decided: W stands in front of the repetition, which gives the same for half
the work.
"""

__all__ = ["TemporalUNet"]

from collections.abc import Iterable

from torch import Tensor, nn

from core.layout import zero_padding
from core.resample import TimeReduction


class TemporalUNet(nn.Module):
    """Layers at a lower rate.

    Args:
        dim: width of the tokens.
        layers: blocks or layers of any kind, called with x (B, T / stride, dim) and `mask`.
        kernel: tokens that a coarse one reads.
        stride: tokens a coarse one.
    """

    def __init__(self, dim: int, layers: Iterable[nn.Module], *, kernel: int = 5, stride: int = 2) -> None:
        super().__init__()
        self.reduce = TimeReduction(dim, kernel=kernel, stride=stride)
        self.layers = nn.ModuleList(layers)
        self.restore = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, T, dim), mask (B, T), True = real; 0 at padding."""
        x = zero_padding(x, mask)
        coarse, real, way = self.reduce(x, mask)
        for layer in self.layers:
            coarse = layer(coarse, mask=real)
        return zero_padding(x + way.restore(self.restore(coarse)), mask)
