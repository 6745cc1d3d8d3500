"""The tanh form of GELU as a module; see `core.ops.gelu_tanh`."""

__all__ = ["GELUTanh"]

from torch import Tensor, nn

from core.ops.gelu_tanh import gelu_tanh


class GELUTanh(nn.Module):
    """x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""

    def forward(self, x: Tensor) -> Tensor:
        return gelu_tanh(x)
