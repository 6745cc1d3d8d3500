"""Training in stages: Polynormer learns its local layers first, then its global ones with the same optimiser."""

__all__ = ["GlobalStage"]

import lightning.pytorch as pl


class GlobalStage(pl.Callback):
    """From an epoch on, the network predicts from its second stage.

    Args:
        epoch: the first of the second stage.
    """

    def __init__(self, epoch: int):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.net.stage = int(trainer.current_epoch >= self.epoch)  # type: ignore[union-attr]
