"""Mamba (Gu and Dao 2023): a short causal convolution and a selective scan, gated.

    x, z = W_in h;  x = silu(conv(x));  r, B, C = W_x x;  dt = softplus(W_dt r + b_dt)
    s_t = exp(-exp(A_log) dt_t) s_{t-1} + dt_t B_t x_t;  out = W_out ((C_t . s_t + D x_t) silu(z))

`BidirectionalMamba` adds the same with other weights over the reversed sequence.  There is no norm and no residual in
here.  Grids are read in raster order; padding is taken out of the sequence, wherever it lies, so that tokens on its two
sides are neighbours and a reversed sequence begins with its last real token.

A_log, D and the bias of dt should have no weight decay (as published); they are initialised as published: A = -1 .. -N,
D = 1, dt log-uniform between 0.001 and 0.1.
"""

__all__ = ["BidirectionalMamba", "Mamba"]

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.layout import grid_of, zero_padding
from core.mixers.base import Mixer
from core.mixers.convolution import DepthwiseConv
from core.ops.selective_scan import selective_scan

DT_RANGE = 1e-3, 1e-1
DT_LEAST = 1e-4


class Mamba(Mixer):
    """One direction, from the first token to the last.

    Args:
        dim: width of the tokens.
        state: numbers of state a channel, N.
        kernel: of the convolution.
        expand: inner channels over dim.
        rank: width that dt is made from; dim / 16, rounded up, by default.
        bias: of the first and last projection.
        conv_bias: of the convolution.
    """

    causal = True

    def __init__(
        self,
        dim: int,
        state: int = 16,
        kernel: int = 4,
        expand: int = 2,
        *,
        rank: int | None = None,
        bias: bool = False,
        conv_bias: bool = True,
    ) -> None:
        super().__init__()
        inner, self.rank, self.state = expand * dim, rank or math.ceil(dim / 16), state
        self.enter = nn.Linear(dim, 2 * inner, bias=bias)
        self.conv = DepthwiseConv(inner, (kernel,), causal=True, bias=conv_bias)
        self.select = nn.Linear(inner, self.rank + 2 * state, bias=False)
        self.dt = nn.Linear(self.rank, inner)
        self.log_rate = nn.Parameter(torch.arange(1, state + 1).float().log().repeat(inner, 1))
        self.skip = nn.Parameter(torch.ones(inner))
        self.out = nn.Linear(inner, dim, bias=bias)
        with torch.no_grad():
            nn.init.uniform_(self.dt.weight, -(self.rank**-0.5), self.rank**-0.5)
            low, high = map(math.log, DT_RANGE)
            dt = torch.empty(inner).uniform_(low, high).exp().clamp(min=DT_LEAST)
            self.dt.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, *grid, dim)."""
        sequence = x.flatten(1, -2)
        if mask is None:
            return self._run(sequence, None)[0].unflatten(1, grid_of(x))
        order = _packed(mask.flatten(1))
        y = _put(self._run(_take(zero_padding(x, mask).flatten(1, -2), order), None)[0], order)
        return zero_padding(y.unflatten(1, grid_of(x)), mask)

    def initial_state(
        self, batch: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, ...]:
        """The convolution's last inputs (B, kernel - 1, inner) and the scan's state (B, inner, N), all 0."""
        accurate = torch.promote_types(dtype or torch.get_default_dtype(), torch.float32)
        scan = torch.zeros(batch, *self.log_rate.shape, device=device, dtype=accurate)
        return (*self.conv.initial_state(batch, device, dtype), scan)

    def step(self, x_t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One token (B, dim)."""
        y, state = self.extend(x_t[:, None], state)
        return y[:, 0], state

    def extend(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The next T tokens (B, T, dim) at once."""
        return self._run(x, state)

    def _run(self, x: Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, gate = self.enter(x).chunk(2, -1)
        window: tuple[Tensor, ...] = ()
        if state is None:
            x = self.conv(x)
        else:
            x, window = self.conv.extend(x, state[:1])
        x = F.silu(x)
        rank, b, c = self.select(x).split([self.rank, self.state, self.state], -1)
        # dt decides over long times: float32 at least, as the rates.
        accurate = torch.promote_types(x.dtype, torch.float32)
        raw = F.linear(rank, self.dt.weight).to(accurate) + self.dt.bias.to(accurate)
        # Not F.softplus: compiled without inductor, its backward disagrees with itself about strides (torch 2.14).
        dt = torch.logaddexp(raw, raw.new_zeros(()))
        rates = -self.log_rate.to(accurate).exp()
        y, after = selective_scan(x.to(accurate), dt, rates, b, c, initial_state=state[1] if state else None)
        y = (y + self.skip * x) * F.silu(gate)
        return self.out(y.to(gate.dtype)), (*window, after)


class BidirectionalMamba(Mixer):
    """y = forwards(x) + reversed(backwards(reversed x)).

    Args:
        dim: width of the tokens.
        state: numbers of state a channel, N.
        kernel: of the convolutions.
        expand: inner channels over dim.
    """

    def __init__(self, dim: int, state: int = 16, kernel: int = 4, expand: int = 2) -> None:
        super().__init__()
        self.forwards = Mamba(dim, state, kernel, expand)
        self.backwards = Mamba(dim, state, kernel, expand)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, *grid, dim)."""
        sequence = x.flatten(1, -2)
        turned = sequence.flip(1), None if mask is None else mask.flatten(1).flip(1)
        back = self.backwards(turned[0], mask=turned[1]).flip(1)
        return self.forwards(x, mask=mask) + back.unflatten(1, grid_of(x))


def _packed(mask: Tensor) -> Tensor:
    """(B, T) real tokens first, in their order."""
    return torch.argsort(~mask, dim=1, stable=True)


def _take(x: Tensor, order: Tensor) -> Tensor:
    return x.gather(1, order[..., None].expand(*order.shape, x.shape[-1]))


def _put(x: Tensor, order: Tensor) -> Tensor:
    """Undoes `_take`."""
    return torch.empty_like(x).scatter(1, order[..., None].expand(*order.shape, x.shape[-1]), x)
