"""Legendre memory unit in its parallel form (Chilkuri & Eliasmith 2021; LMUFormer, Liu et al. 2024):

    u_t = relu(w . x_t + b),    m_t = A m_(t-1) + B u_t,    y_t = relu(W [m_t; x_t] + c)

One number a token goes into the memory of `core.ops.legendre`.  Streams with `order` numbers as its state.

Decided: any length (the release fixes it at construction, and keeps the impulse response in its checkpoints).
"""

__all__ = ["LegendreMemory"]

import torch
from torch import Tensor, nn

from core.layout import zero_padding
from core.mixers.base import Mixer
from core.ops.legendre import Responses, legendre_memory, legendre_responses, legendre_system


class LegendreMemory(Mixer):
    """A token sees the last `theta` tokens through the memory of one signal.

    Args:
        dim: width of the tokens.
        out: width of the result; dim by default.
        order: numbers of the memory; dim by default.
        theta: steps the memory spans.
    """

    causal = True

    def __init__(self, dim: int, out: int | None = None, *, order: int | None = None, theta: float = 128.0) -> None:
        super().__init__()
        self.order = order or dim
        self.theta = theta
        self.signal = nn.Linear(dim, 1)
        self.out = nn.Linear(self.order + dim, out or dim)
        # Computed once a device, never in the state dict.
        self._responses: dict[torch.device, tuple[Responses, Tensor]] = {}

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, T, dim) -> (B, T, out); a step of padding puts 0 into the memory."""
        x = zero_padding(x, mask)
        u = zero_padding(torch.relu(self.signal(x)), mask)
        return zero_padding(self._mix(x, u, None)[0], mask)

    def initial_state(
        self, batch: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, ...]:
        """An empty memory (B, order)."""
        return (torch.zeros(batch, self.order, device=device, dtype=dtype),)

    def step(self, x_t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One token (B, dim)."""
        responses, entry = self._system(x_t)
        u = torch.relu(self.signal(x_t))
        m = state[0] @ responses.powers[0].to(u.dtype).mT + u * entry.to(u.dtype)
        return torch.relu(self.out(torch.cat([m, x_t], -1))), (m,)

    def extend(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The next T tokens (B, T, dim) at once."""
        y, after = self._mix(x, torch.relu(self.signal(x)), state[0])
        return y, (after,)

    def _mix(self, x: Tensor, u: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        m, after = legendre_memory(u[..., 0], self._system(x)[0], state)
        return torch.relu(self.out(torch.cat([m, x.to(m.dtype)], -1))), after

    def _system(self, x: Tensor) -> tuple[Responses, Tensor]:
        if x.device not in self._responses:
            made = legendre_responses(self.order, self.theta)
            entry = legendre_system(self.order, self.theta)[1]
            self._responses[x.device] = (Responses(*(t.to(x.device) for t in made)), entry.to(x.device))
        return self._responses[x.device]
