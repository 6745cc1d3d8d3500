"""Forecasting as a Lightning task: any network of `apps.timeseries.models` on any `ForecastData`."""

__all__ = ["ForecastTask"]

import inspect
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from apps.timeseries.conformal import shifts
from apps.timeseries.data.datamodule import ForecastData
from apps.timeseries.data.scaler import Scaler
from core.errors import UserError
from core.training.task import OptimizerFactory, ScheduleFactory, Task, factory_class

Batch = dict[str, Tensor]

# Levels that are calibrated on the validation windows.
LEVELS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)

# Inputs of a network's forward, and the constructor argument that says how many there are.
INPUTS = {
    "past_feat_dynamic_real": "num_past_feat_dynamic_real",
    "feat_dynamic_real": "num_feat_dynamic_real",
    "time_feat": "num_time_feat",
    "feat_static_real": "num_feat_static_real",
    "feat_static_cat": "cardinality",
}


class ForecastTask(Task):
    """Trains a forecasting network in standardised units.

    Args:
        network: builds the network from (context_length, prediction_length); the sizes of the data are added, and
            data that it cannot use are an error.
        optimizer: makes the optimiser.
        schedule: makes the learning-rate schedule.
        monitor: val_mae, val_mse or val_loss, which chooses the best epoch.
    """

    def __init__(
        self,
        network: Callable[[int, int], nn.Module],
        optimizer: OptimizerFactory = torch.optim.AdamW,
        schedule: ScheduleFactory | None = None,
        monitor: str = "val_mae",
    ):
        super().__init__(optimizer, schedule)
        self.network, self.monitor = network, monitor
        self.net: nn.Module | None = None
        self.held_out: list[tuple[Tensor, Tensor]] = []
        self.metrics = nn.ModuleDict(
            {f"{part}_{name}": MeanMetric() for part in ("val", "test") for name in ("loss", "mse", "mae")}
        )
        # In the checkpoint, so that the mean of an epoch that was interrupted is that of the whole epoch.
        self.metrics["train_loss"] = MeanMetric()
        self.metrics["train_loss"].persistent(True)

    @property
    def label(self) -> str:
        """The network's class name."""
        return factory_class(self.network).__name__

    def setup(self, stage: str) -> None:
        if self.trainer.datamodule is not None:
            self.prepare(self.trainer.datamodule)

    def prepare(self, data: ForecastData) -> None:
        """Builds the network for the data, once."""
        if self.net is not None:
            return
        data.setup()
        sizes = self.facts.get("sizes") or data.sizes()
        self.build(data.context_length, data.prediction_length, sizes)
        self.facts = {
            "context_length": data.context_length,
            "prediction_length": data.prediction_length,
            "sizes": sizes,
            "scaler": {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(data.scaler).items()},
            "vocabulary": {name: list(values) for name, values in data.read().vocabulary.items()},
        }

    def build(self, context_length: int, prediction_length: int, sizes: dict[str, Any]) -> None:
        """The network for data of these sizes.

        Raises:
            UserError: the data have inputs that the network cannot use, or its arguments do not fit together.
        """
        cls = factory_class(self.network)
        known = inspect.signature(cls).parameters
        wanted = {name: size for name, size in sizes.items() if size and (name in known or name != "covariate_length")}
        unused = [name for name in wanted if name not in known and not (name == "target_dim" and wanted[name] == 1)]
        if unused:
            names = {"num_time_feat": "the calendar (data.time_features)", "target_dim": "several targets"}
            listed = ", ".join(names.get(name, name.removeprefix("num_")) for name in unused)
            raise UserError(
                f"{cls.__name__} cannot use {listed}; leave it out of the data or choose a network that can."
            )
        try:
            self.net = self.network(
                context_length, prediction_length, **{k: v for k, v in wanted.items() if k in known}
            )
        except ValueError as error:
            raise UserError(f"--model.network {cls.__name__}: {error}.") from None
        accepted = inspect.signature(self.net.forward).parameters
        self.inputs = [name for name, size in INPUTS.items() if wanted.get(size) and name in accepted]

    def forward(self, batch: Batch) -> Tensor:
        """The head's prediction for a batch, in standardised units."""
        assert self.net is not None
        inputs = {name: batch[name] for name in self.inputs if name in batch}
        observed = batch["past_observed_values"]
        if not observed.all():
            inputs["past_observed_values"] = observed
        return self.net(batch["past_target"], **inputs)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        prediction, target, observed = self(batch), batch["future_target"], batch["future_observed_values"]
        loss = self.net.head.loss(prediction, target, observed)
        if hasattr(self.net, "auxiliary_loss"):  # a network may judge parts of itself, too
            loss = loss + self.net.auxiliary_loss(prediction, target, observed)
        self.metrics["train_loss"].update(loss.detach(), weight=len(batch["past_target"]))
        self.log("train_loss", self.metrics["train_loss"], on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def _score(self, batch: Batch, part: str) -> None:
        prediction = self(batch)
        target, observed = batch["future_target"], batch["future_observed_values"]
        error = (self.net.head.point(prediction) - target)[observed]
        values = {
            "loss": self.net.head.loss(prediction, target, observed),
            "mse": error.square().mean(),
            "mae": error.abs().mean(),
        }
        if not len(error):
            return
        if part == "val":
            base = self.net.head.quantiles(prediction, LEVELS) if self.net.head.size > 1 else prediction
            self.held_out.append((base.detach().cpu(), target.masked_fill(~observed, float("nan")).cpu()))
        for name, value in values.items():
            metric = self.metrics[f"{part}_{name}"]
            metric.update(value, weight=len(error))  # exact over all windows, whatever the batches
            self.log(f"{part}_{name}", metric, on_epoch=True, prog_bar=name == "mae")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._score(batch, "val")

    def on_validation_epoch_end(self) -> None:
        """Residuals of the validation windows calibrate the quantiles of later forecasts (`conformal`)."""
        if not self.held_out:
            return
        base, target = (torch.cat(part) for part in zip(*self.held_out, strict=True))
        self.held_out.clear()
        self.facts["conformal"] = {"levels": list(LEVELS), "shifts": shifts(base, target, LEVELS)}

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._score(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        prediction = self(batch)
        kept = ("item", "forecast_start", "future_target", "future_observed_values")
        return {"prediction": prediction.cpu(), **{name: batch[name].cpu() for name in kept}}

    def restore_facts(self, ckpt_path: str | None) -> None:
        """What a checkpoint says of its data, before the network is built.

        Raises:
            UserError: the network was not trained by `fit`.
        """
        super().restore_facts(ckpt_path)
        if not self.facts.get("scaler"):
            raise UserError("predict needs --ckpt_path with a checkpoint that fit has written.")

    def scaler(self) -> Scaler:
        """The scaling the checkpoint was trained with."""
        return Scaler(**{k: tuple(v) if isinstance(v, list) else v for k, v in self.facts["scaler"].items()})
