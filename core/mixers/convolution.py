"""Depthwise convolution as a mixer (ConvNeXt, MetaFormer's SepConv, the short convolutions of recurrent mixers)."""

__all__ = ["DepthwiseConv"]

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from core.layout import zero_padding
from core.mixers.base import Mixer
from core.ops.depthwise import depthwise


class DepthwiseConv(Mixer):
    """y_p,c = sum_o w_c,o x_(p+o),c + b_c.

    Args:
        dim: width of the tokens.
        kernel: kernel size an axis; its length is the rank of the grids.
        causal: the kernel ends at the token itself; for sequences.
        bias: whether there is one.
    """

    def __init__(self, dim: int, kernel: Sequence[int] = (3, 3), *, causal: bool = False, bias: bool = True) -> None:
        super().__init__()
        if causal and len(kernel) != 1:
            raise ValueError(f"DepthwiseConv: causal with kernel {tuple(kernel)}; give one size, for sequences")
        self.causal = causal
        convolution: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(kernel) - 1]
        # Drawn as torch draws a convolution's: uniform within 1 / sqrt(kernel).
        own = convolution(dim, dim, tuple(kernel), groups=dim, bias=bias)
        self.weight, self.bias = own.weight, own.bias

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, *grid, dim)."""
        if x.ndim != self.weight.ndim:
            raise ValueError(
                f"DepthwiseConv: tokens {tuple(x.shape)} for kernel {tuple(self.weight.shape[2:])}; "
                "give one kernel size a grid axis"
            )
        return zero_padding(depthwise(zero_padding(x, mask), self.weight, self.bias, causal=self.causal), mask)

    def initial_state(
        self, batch: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, ...]:
        """The kernel - 1 inputs before the first, all 0: (B, kernel - 1, dim), oldest first."""
        self._check_step()
        return (torch.zeros(batch, self.weight.shape[-1] - 1, self.weight.shape[0], device=device, dtype=dtype),)

    def step(self, x_t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One token (B, dim)."""
        self._check_step()
        window = torch.cat([state[0], x_t[:, None]], dim=1)
        y = torch.einsum("btc,ct->bc", window, self.weight[:, 0])
        return y if self.bias is None else y + self.bias, (window[:, 1:],)

    def extend(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The next T tokens (B, T, dim) at once."""
        self._check_step()
        window = torch.cat([state[0], x], dim=1)
        y = depthwise(window, self.weight, self.bias, causal=True)[:, state[0].shape[1] :]
        return y, (window[:, x.shape[1] :],)

    def _check_step(self) -> None:
        if not self.causal:
            raise ValueError("DepthwiseConv: step needs causal=True; without it a token depends on those after it")
