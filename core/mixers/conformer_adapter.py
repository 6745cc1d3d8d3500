"""Adapter after the convolution module of the Conformer (Cappellazzo et al. 2024, PETL_AST), beside a frozen layer:

    y = W2 silu(BN(depthwise(glu(W1 LN(x) + b1)))) + b2

Decided: only the second layer starts at 0, so that the branch adds nothing at first and learns.  The release computes
its LayerNorm and then reads x again; `official=True` leaves the norm out.
"""

__all__ = ["ConformerAdapter"]

from torch import Tensor, nn
from torch.nn import functional as F

from core.layout import zero_padding
from core.mixers.base import Mixer
from core.norms import FrameBatchNorm
from core.ops.depthwise import depthwise


class ConformerAdapter(Mixer):
    """A gated bottleneck with a depthwise convolution; 0 at the start.

    Args:
        dim: width of the tokens.
        out: width of the result; dim by default.
        reduction: dim over the width of the convolution.
        kernel: tokens the convolution reaches over.
        official: without LayerNorm, as the release computes it.
    """

    def __init__(
        self, dim: int, out: int | None = None, *, reduction: int = 64, kernel: int = 31, official: bool = False
    ) -> None:
        super().__init__()
        width = dim // reduction
        if not width:
            raise ValueError(
                f"ConformerAdapter: dim {dim} reduced {reduction} times leaves nothing; give at most {dim}"
            )
        self.norm = None if official else nn.LayerNorm(dim)
        self.enter = nn.Linear(dim, 2 * width)
        own = nn.Conv1d(width, width, kernel, groups=width)
        self.conv, self.conv_bias = own.weight, own.bias
        self.batch_norm = FrameBatchNorm(width)
        self.leave = nn.Linear(width, out or dim)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, T, dim) -> (B, T, out)."""
        x = zero_padding(x, mask)
        if self.norm is not None:
            x = self.norm(x)
        hidden = zero_padding(F.glu(self.enter(x), -1), mask)
        hidden = F.silu(self.batch_norm(depthwise(hidden, self.conv, self.conv_bias), mask))
        return zero_padding(self.leave(hidden), mask)
