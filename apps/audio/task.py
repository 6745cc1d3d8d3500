"""Separation as a Lightning task: any network of `apps.audio.models` on any `SeparationData`."""

__all__ = ["SeparationTask"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from apps.audio.losses import hard_mean, pit_loss
from apps.audio.metrics import ALIKE_DB, best_permutation, si_sdr, silent_references
from apps.audio.separate import separate
from core.errors import UserError
from core.training.task import OptimizerFactory, ScheduleFactory, Task, factory_class


class SeparationTask(Task):
    """Trains a separation network with permutation-invariant SI-SDR.

    Validation is the mean over whole mixtures of SI-SDR improvement with the best permutation.

    Args:
        network: builds the network; the number of speakers is added.
        optimizer: makes the optimiser.
        schedule: makes the learning-rate schedule.
        threshold: clips whose loss is below it (in dB, -30 in SpeechBrain's recipes) no longer count; all do if None.
        weights: file or folder of a release to start from.
        window: seconds of a chunk; longer recordings are separated in chunks that overlap by half.
    """

    monitor = "val_si_sdri"
    mode = "max"

    def __init__(
        self,
        network: Callable[[], nn.Module],
        optimizer: OptimizerFactory = torch.optim.Adam,
        schedule: ScheduleFactory | None = None,
        threshold: float | None = None,
        weights: str | None = None,
        window: float = 8.0,
    ):
        super().__init__(optimizer, schedule)
        self.network, self.threshold, self.weights, self.window = network, threshold, weights, window
        self.net: nn.Module | None = None
        self.metrics = nn.ModuleDict({name: MeanMetric() for name in ("train_loss", "val_si_sdri", "test_si_sdri")})
        # In the checkpoint, so that the mean of an epoch that was interrupted is that of the whole epoch.
        self.metrics["train_loss"].persistent(True)

    @property
    def label(self) -> str:
        """The network's name: its class, or the function that makes a published size."""
        name = getattr(self.network, "__name__", "")
        return name if name and name != "<lambda>" else factory_class(self.network).__name__

    def setup(self, stage: str) -> None:
        data = self.trainer.datamodule
        if data is not None:
            self.prepare(data.speakers, data.sample_rate)

    def prepare(self, speakers: int, sample_rate: int) -> None:
        """Builds the network, once.

        Raises:
            UserError: the checkpoint was trained for another number of speakers or another rate.
        """
        if self.net is not None:
            return
        for option, value in (("speakers", speakers), ("sample_rate", sample_rate)):
            trained = self.facts.get(option)
            if trained not in (None, value):
                raise UserError(f"--data.{option} {value}: the checkpoint was trained with {trained}; use {trained}.")
        try:
            self.net = self.network(speakers=speakers)
        except ValueError as error:
            raise UserError(f"--model.network: {error}.") from None
        if self.weights is not None and not self.facts:
            from apps.audio.models import load_release

            load_release(self.net, self.weights)
        self.facts = {"speakers": speakers, "sample_rate": sample_rate}

    def forward(self, mixture: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T) and lengths (B,) -> (B, S, T)."""
        assert self.net is not None
        return self.net(mixture, lengths)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        lengths = batch["lengths"]
        losses, _ = pit_loss(self(batch["mixture"], lengths), batch["targets"], lengths)
        loss = losses.mean() if self.threshold is None else hard_mean(losses, self.threshold)
        self.metrics["train_loss"].update(losses.detach().mean(), weight=len(losses))
        self.log("train_loss", self.metrics["train_loss"], on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self._score(batch, "val_si_sdri")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self._score(batch, "test_si_sdri")

    def _score(self, batch: dict[str, Any], name: str) -> None:
        metric = self.metrics[name]
        estimates = self(batch["mixture"], batch["lengths"])
        for clip, length in enumerate(batch["lengths"].tolist()):
            mixture, targets = batch["mixture"][clip, :length], batch["targets"][clip, :, :length]
            before = si_sdr(mixture, targets).mean()
            if silent_references(targets, mixture) or before > ALIKE_DB:
                continue
            value, _ = best_permutation(si_sdr(estimates[clip, :, None, :length], targets))
            metric.update((value - before).float(), weight=1)
        self.log(name, metric, on_epoch=True, prog_bar=True, batch_size=len(batch["lengths"]))

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> list[tuple[int, Tensor]]:
        """(number, estimates (S, T)) of each whole mixture, at the level at which they add up to it."""
        window = round(self.window * self.facts["sample_rate"])
        made = []
        for index, mixture, length in zip(batch["index"], batch["mixture"], batch["lengths"].tolist(), strict=True):
            made.append((index, separate(self, mixture[:length], window=window).cpu()))
        return made
