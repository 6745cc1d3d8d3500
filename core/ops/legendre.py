"""The Legendre memory (Voelker et al. 2019): a linear system of `order` numbers that holds the last `theta` steps of a
signal as coefficients of Legendre polynomials.

    m_t = A m_(t-1) + B u_t,    [A B] = zero-order hold, one step, of the continuous system
    a_ij = (2 i + 1) / theta * (-1 if i < j else (-1)^(i - j + 1)),    b_i = (2 i + 1) / theta * (-1)^i

Shapes: u (B, T) -> m (B, T, order).

Decided: pieces of 32 steps as products with the impulse response A^t B, the state from piece to piece by A^32.  Unlike
the Fourier transforms of the release (Chilkuri & Eliasmith 2021) that serves any length, starts from any state, and a
step depends on nothing after it, to the last digit.  The system is computed in float64.
"""

__all__ = ["Responses", "legendre_memory", "legendre_memory_reference", "legendre_responses", "legendre_system"]

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_PIECE = 32


def legendre_system(order: int, theta: float) -> tuple[Tensor, Tensor]:
    """A (order, order) and B (order,) in float64."""
    row = torch.arange(order, dtype=torch.float64)
    i, j = row[:, None], row
    rate = (2 * row + 1) / theta
    signs = torch.where(i < j, -1.0, 1 - 2 * torch.remainder(i - j + 1, 2))
    continuous = torch.zeros(order + 1, order + 1, dtype=torch.float64)
    continuous[:order, :order] = rate[:, None] * signs
    continuous[:order, order] = rate * (1 - 2 * torch.remainder(row, 2))
    discrete = torch.linalg.matrix_exp(continuous)
    return discrete[:order, :order], discrete[:order, order]


class Responses(NamedTuple):
    """What a piece of steps needs of a system; depends on its order and theta alone.

    Attributes:
        impulse: (s, t, order), what a 1 at step s of a piece gives at step t.
        powers: (6, order, order), A, A^2, A^4, ..., A^32.
    """

    impulse: Tensor
    powers: Tensor


def legendre_responses(order: int, theta: float) -> Responses:
    """The responses of a system in float64."""
    transition, entry = legendre_system(order, theta)
    powers = [transition]
    while 2 ** (len(powers) - 1) < _PIECE:
        powers.append(powers[-1] @ powers[-1])
    impulse = entry[None]
    for power in powers[:-1]:
        impulse = torch.cat([impulse, impulse @ power.mT])
    step = torch.arange(_PIECE)
    delay = step - step[:, None]
    return Responses(impulse[delay.clamp(min=0)] * (delay >= 0)[..., None], torch.stack(powers))


def legendre_memory(u: Tensor, responses: Responses, initial_state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The memory after every step.

    Args:
        u: the signal.
        responses: of the system, in u's type or a wider one.
        initial_state: (B, order), 0 by default.

    Returns:
        m (B, T, order) and the last of it (B, order), the initial state where T is 0.
    """
    impulse, powers = (t.to(u.dtype) for t in responses)
    length = u.shape[1]
    state = u.new_zeros(len(u), powers.shape[-1]) if initial_state is None else initial_state
    pieces = F.pad(u, (0, -length % _PIECE)).unflatten(1, (-1, _PIECE))
    own = torch.einsum("bns,sto->bnto", pieces, impulse)
    states = [state]
    for piece in own[:, :, -1].unbind(1):
        states.append(states[-1] @ powers[-1].mT + piece)
    # From the state before each piece: A s, then twice as many steps with every power.
    carried = (torch.stack(states[:-1], 1) @ powers[0].mT)[:, :, None] if length else own
    for power in powers[:-1] if length else ():
        carried = torch.cat([carried, carried @ power.mT], 2)
    m = (own + carried).flatten(1, 2)[:, :length]
    return m, m[:, -1] if length else state


def legendre_memory_reference(u: Tensor, transition: Tensor, entry: Tensor) -> Tensor:
    """The definition, step by step."""
    state, states = u.new_zeros(len(u), len(entry)), []
    for value in u.unbind(1):
        state = state @ transition.to(u.dtype).mT + value[:, None] * entry.to(u.dtype)
        states.append(state)
    return torch.stack(states, 1)
