"""Training of a recipe's network for a protocol: `core.training.repeated` on the series and parts of the protocol.

A protocol needs many fits of one recipe (sets, seeds, refits) on parts that the recipe does not know.
"""

__all__ = ["Fitted", "Fixed", "Training"]

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

import apps.timeseries.models  # noqa: F401 (so that a recipe finds networks by their class names)
from apps.timeseries.data.datamodule import ForecastData
from apps.timeseries.data.series import Panel
from apps.timeseries.data.sources import EPF, Source
from apps.timeseries.data.splits import Split
from apps.timeseries.data.windows import WindowDataset, as_is
from apps.timeseries.evaluate import collect
from apps.timeseries.forecasts import Forecasts
from apps.timeseries.task import ForecastTask
from core.training import repeated
from core.training.loader import ResumableLoader


class Fixed(Source):
    """Series and a split that a protocol has made.

    Args:
        series: the panel.
        parts: training, validation and test.
        label: the data in a word.
    """

    def __init__(self, series: Panel, parts: Split, label: str):
        self.series, self.parts, self.label = series, parts, label

    def panel(self) -> Panel:
        return self.series

    def split(self, panel: Panel) -> Split:
        return self.parts


class Fitted(repeated.Fitted):
    """A trained network with its data."""

    def forecasts(
        self, part: Tensor, levels: Sequence[float] = (0.1, 0.5, 0.9), stride: int | None = None
    ) -> Forecasts:
        """Forecasts of a part (S, 2), by default one at every multiple of the horizon."""
        windows = self.data.cut(part, stride=stride or self.data.prediction_length)
        return collect(self.task, self.trainer, self.data, windows, None, tuple(levels))


class Training(repeated.Training):
    """A recipe that can be fitted again and again.

    Args:
        recipe: a shipped recipe's name or a YAML file.
        words: command-line overrides, as `--trainer.max_epochs 3`.
        head: class of another head than the recipe's.

    Raises:
        core.errors.UserError: no such recipe, or an override that does not fit.
    """

    def __init__(self, recipe: str, words: Sequence[str] = (), head: type | None = None):
        def change(config: dict[str, Any]) -> None:
            if head is not None:
                network = config["model"]["network"]
                network.setdefault("init_args", {})["head"] = {"class_path": f"{head.__module__}.{head.__qualname__}"}

        super().__init__("timeseries", ForecastTask, ForecastData, recipe, words, change)

    def epf(self, name: str) -> EPF:
        """One of the five sets, its covariates in the role that the recipe gives them."""
        own = self.made().data.dataset
        return EPF(name, own.path, own.past_only) if isinstance(own, EPF) else EPF(name)

    def fit_to(self, source: Source, seed: int, *, select: bool) -> Fitted:
        """Trains on the source's training part.

        Args:
            source: series and split.
            seed: of weights, order and dropout.
            select: keep the epoch that is best on the validation part; otherwise the last one, without validating.
        """

        def change(data: ForecastData) -> None:
            data.dataset, data.path = source, None

        return Fitted(**vars(self.fit(seed, change, select=select)))

    def refit(
        self,
        fitted: Fitted,
        windows: WindowDataset,
        before: int,
        seed: int,
        *,
        steps: int,
        rate: float,
        half_life: float = math.inf,
    ) -> float:
        """Trains on from where the network is, on the windows of the past that a forecast at `before` resembles.

        These start at the same hour: windows of other hours know part of the day they forecast, which is another and
        easier task.  They are drawn with replacement, with weights 2^(-age / half_life), through the recipe's
        optimiser and schedule; of the recipe's trainer the callbacks are left out.

        Args:
            fitted: is changed in place.
            windows: of all rows with stride 1.
            before: the row that no forecast step may reach, and the first that is forecast next.
            seed: of the draw.
            steps: optimiser steps.
            rate: share of the recipe's learning rate.
            half_life: in days of 24 rows.

        Returns:
            Seconds it took.
        """
        started = time.perf_counter()
        task, data = fitted.task, fitted.data
        start = torch.arange(len(windows)) + windows.look_back
        age = before - (start + data.prediction_length)
        weight = torch.where((age >= 0) & (age % data.prediction_length == 0), 2.0 ** (-age / (24 * half_life)), 0.0)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + before)
        drawn = torch.multinomial(weight.double(), steps * data.batch_size, True, generator=generator).tolist()
        loader = ResumableLoader(windows, batch_size=data.batch_size, sampler=drawn, collate_fn=as_is)
        settings = dict(self.made().trainer)
        settings |= {
            "max_epochs": 1,
            "limit_val_batches": 0,
            "enable_checkpointing": False,
            "callbacks": None,
        }
        fitted.trainer = self.trainer(settings, [])
        whole = task.optimizer
        task.optimizer = lambda groups: _slower(whole(groups), rate)
        try:
            fitted.trainer.fit(task, train_dataloaders=loader)
        finally:
            task.optimizer = whole
        return time.perf_counter() - started


def _slower(optimizer: Optimizer, rate: float) -> Optimizer:
    for group in optimizer.param_groups:
        group["lr"] *= rate
    return optimizer
