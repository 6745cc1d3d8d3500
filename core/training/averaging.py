"""Exponential moving average of the weights, evaluated and saved in their place."""

__all__ = ["Averaging"]

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
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

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # Callbacks are set up before the module, but tasks build their network there: without it there is nothing to
        # average.  A task that is set up again does nothing.
        pl_module.setup(stage)
        super().setup(trainer, pl_module, stage)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # After training, Lightning's own would put the raw weights in the place of the average that was just loaded.
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
