"""Rotary positions (Su et al. 2021): pairs of channels of q and k turn by p * base^(-i/n), so that scores depend on
differences of positions alone.

On a grid of rank D each axis turns its own d / D channels. The two conventions of what a pair is are two classes, since
weights trained with one are wrong with the other.
"""

__all__ = ["Rotary", "RotaryInterleaved"]

import torch
from torch import Tensor, nn


class Rotary(nn.Module):
    """Channels i and i + n form a pair, inside the channels of one axis (GPT-NeoX, Llama, fla).

    Args:
        rank: number of coordinates.
        base: ratio of the longest to the shortest wave.
    """

    def __init__(self, rank: int = 1, base: float = 10000.0) -> None:
        super().__init__()
        self.rank = rank
        self.base = base

    def forward(self, x: Tensor, coords: Tensor) -> Tensor:
        """Turn the heads (..., H, d) at coordinates (..., D), whose leading axes are x's or broadcast to them."""
        cos, sin = _angles(x, coords, self.rank, self.base)
        first, second = x.unflatten(-1, (self.rank, 2, -1)).unbind(-2)
        return torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-2).flatten(-3)


class RotaryInterleaved(nn.Module):
    """Channels 2 i and 2 i + 1 form a pair (GPT-J, RoFormer).

    Args:
        rank: number of coordinates.
        base: ratio of the longest to the shortest wave.
    """

    def __init__(self, rank: int = 1, base: float = 10000.0) -> None:
        super().__init__()
        self.rank = rank
        self.base = base

    def forward(self, x: Tensor, coords: Tensor) -> Tensor:
        """Turn the heads (..., H, d) at coordinates (..., D), whose leading axes are x's or broadcast to them."""
        cos, sin = _angles(x, coords, self.rank, self.base)
        first, second = x.unflatten(-1, (self.rank, -1, 2)).unbind(-1)
        return torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1).flatten(-3)


def _angles(x: Tensor, coords: Tensor, rank: int, base: float) -> tuple[Tensor, Tensor]:
    """cos and sin (..., 1, D, n), one head axis to broadcast; angles in float32 at least."""
    if coords.shape[-1] != rank or x.shape[-1] % (2 * rank):
        raise ValueError(
            f"rotary of rank {rank}: heads of width {x.shape[-1]} at coordinates of rank {coords.shape[-1]}; "
            f"give coordinates of rank {rank} and a head width that {2 * rank} divides"
        )
    count = x.shape[-1] // (2 * rank)
    dtype = torch.promote_types(coords.dtype, torch.float32)
    frequency = base ** -(torch.arange(count, device=x.device, dtype=dtype) / count)
    angle = coords.to(dtype)[..., None, :, None] * frequency
    return angle.cos().to(x.dtype), angle.sin().to(x.dtype)
