"""Exponential moving average of the weights, evaluated and saved in their place."""

__all__ = ["Averaging"]

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class Averaging(WeightAveraging):
    """Average of all floating-point weights and buffers; integers are taken as they are now.

    Lightning's own EMA callback with its defaults averages integer buffers too and truncates them, which silently
    destroys index tables and counters; hence this one.

    Args:
        decay: of the old average at each optimiser step.
    """

    def __init__(self, decay: float = 0.999):
        def blend(average: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
            del count
            if not torch.is_floating_point(average):
                return current
            return torch.lerp(current.to(average), average, decay)

        super().__init__(avg_fn=blend, use_buffers=True)
