"""The two feed-forward networks of transformers.

MLP (Vaswani et al. 2017): W2 act(W1 x). Gated (Shazeer 2020, GLU family): W2 (act(Wg x) * W1 x); act is a sigmoid in
GLU, GELU in GEGLU, SiLU in SwiGLU.
"""

__all__ = ["MLP", "GatedMLP"]

from collections.abc import Callable

import torch
from torch import Tensor, nn

from core.ops.gelu_linear import gelu_linear


class MLP(nn.Module):
    """Linear, activation, linear; (..., dim) -> (..., dim).

    Args:
        dim: width of the tokens.
        hidden: width between the layers.
        activation: makes the activation.
        dropout: after the activation and after the second layer.
        bias: whether the layers have one.
        recompute: keep the hidden layer once in training and compute its GELU again on the way back.

    Raises:
        ValueError: for `recompute` with another activation or dropout.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        *,
        activation: Callable[[], nn.Module] = nn.GELU,
        dropout: float = 0.0,
        bias: bool = True,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if recompute and (dropout or activation is not nn.GELU):
            raise ValueError(f"MLP: recompute with {activation.__name__} and dropout {dropout}; give nn.GELU and 0")
        self.recompute = recompute
        self.enter = nn.Linear(dim, hidden, bias=bias)
        self.activation = activation()
        self.leave = nn.Linear(hidden, dim, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        if self.recompute:
            return gelu_linear(self.enter(x), self.leave.weight, self.leave.bias)
        hidden = self.enter(x)
        if type(self.activation) is nn.GELU and not torch.is_grad_enabled():
            # In place: fresh memory for the widest tensor of a block costs as much as its GELU.
            hidden = torch.ops.aten.gelu_(hidden, approximate=self.activation.approximate)
        else:
            hidden = self.activation(hidden)
        return self.dropout(self.leave(self.dropout(hidden)))


class GatedMLP(nn.Module):
    """A gated hidden layer; (..., dim) -> (..., dim). SwiGLU by default.

    Args:
        dim: width of the tokens.
        hidden: width between the layers; 2/3 of an MLP's gives the same number of weights.
        activation: makes the activation of the gate.
        dropout: after the gate and after the last layer.
        bias: whether the layers have one.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        *,
        activation: Callable[[], nn.Module] = nn.SiLU,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, hidden, bias=bias)
        self.enter = nn.Linear(dim, hidden, bias=bias)
        self.activation = activation()
        self.leave = nn.Linear(hidden, dim, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.leave(self.dropout(self.activation(self.gate(x)) * self.enter(x))))
