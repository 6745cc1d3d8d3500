"""Bottleneck adapter (Houlsby et al. 2019): a small branch beside a frozen layer, W2 gelu(W1 x + b1) + b2.

Decided: only the second layer starts at 0, so that the branch adds nothing at first and learns.  The audio release
(PETL_AST) starts both at 0, where every gradient but that of b2 is 0 for ever.
"""

__all__ = ["BottleneckAdapter"]

from torch import Tensor, nn
from torch.nn import functional as F


class BottleneckAdapter(nn.Module):
    """(..., dim) -> (..., out), 0 at the start.

    Args:
        dim: width of the tokens.
        out: width of the result; dim by default.
        reduction: dim over the width between the layers.
    """

    def __init__(self, dim: int, out: int | None = None, *, reduction: int = 64) -> None:
        super().__init__()
        if dim < reduction:
            raise ValueError(
                f"BottleneckAdapter: dim {dim} reduced {reduction} times leaves nothing; give at most {dim}"
            )
        self.enter = nn.Linear(dim, dim // reduction)
        self.leave = nn.Linear(dim // reduction, out or dim)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(F.gelu(self.enter(x)))
