"""StarReLU (MetaFormer baselines, Yu et al. 2022): s relu(x)^2 + b with one learned s and one learned b."""

__all__ = ["SquaredReLU", "StarReLU"]

import torch
from torch import Tensor, nn


class StarReLU(nn.Module):
    """(...) -> (...); s is 1 and b is 0 at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(x)
        if torch.is_grad_enabled():
            return y.square() * self.scale + self.bias
        # In place, because fresh memory costs as much as the arithmetic; not by addcmul, which takes three times as
        # long where it spreads single numbers.
        return y.square_().mul_(self.scale).add_(self.bias)


class SquaredReLU(nn.Module):
    """relu(x)^2 (Primer, So et al. 2021)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x).square()
