"""Our networks as a gluonts estimator and predictor: entries in, `QuantileForecast`s out.

    estimator = OmnimixEstimator(partial(TimeXer, dim=64, head=Quantiles()), context_length=168, prediction_length=24)
    predictor = estimator.train(dataset)
    evaluate_model(predictor, test_data=test, metrics=[MASE()], seasonality=24)

Entries are read by `apps.timeseries.data.entries`: `target` (T,) or (K, T) with NaN where missing, `feat_dynamic_real`
known up to T + H when forecasting, `past_feat_dynamic_real`, `feat_static_real`, `feat_static_cat`.  Training is that
of `omnimix timeseries fit`.  Decided differently from gluonts' own torch estimators: what an entry holds is used unless
`fields` leaves it out, and a network that cannot use it says so (there it is dropped unless its size is declared).
"""

__all__ = ["FIELDS", "OmnimixEstimator", "OmnimixPredictor"]

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import torch
from gluonts.dataset import Dataset
from gluonts.model.estimator import Estimator
from gluonts.model.forecast import QuantileForecast
from gluonts.model.predictor import Predictor
from torch import nn

from apps.timeseries.data.calendar import TimeFeatures
from apps.timeseries.data.datamodule import ForecastData
from apps.timeseries.data.entries import from_entries
from apps.timeseries.data.series import Panel
from apps.timeseries.data.splits import Split, everything
from apps.timeseries.evaluate import collect
from apps.timeseries.heads import Quantiles
from apps.timeseries.protocols.training import Fixed
from apps.timeseries.task import ForecastTask
from core.errors import UserError
from core.training.callbacks import Checkpoints
from core.training.cli import Runner, quiet
from core.training.task import OptimizerFactory, ScheduleFactory

Entry = Mapping[str, Any]
FIELDS = ("feat_dynamic_real", "past_feat_dynamic_real", "feat_static_real", "feat_static_cat")
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
# Series forecast together: enough for full batches, and a long data set need not fit into memory.
CHUNK = 1024


def _read(entries: Iterable[Entry], fields: Sequence[str], vocabulary: Mapping[str, Sequence[str]] | None) -> Panel:
    entries = list(entries)
    if any("feat_dynamic_cat" in entry for entry in entries):
        raise UserError("gluonts data set: feat_dynamic_cat is not read; give it as 0 and 1 in feat_dynamic_real.")
    chosen = ("item_id", "start", "target", *fields)
    panel = from_entries([{k: v for k, v in entry.items() if k in chosen} for entry in entries], vocabulary=vocabulary)
    for (name, known), codes in zip(panel.vocabulary.items(), panel.categories.T, strict=True):
        if int(codes.max()) >= len(known):
            raise UserError(
                f"gluonts data set: {name} has the code {int(codes.max())}, but training saw codes below {len(known)}; "
                "train on all categories or leave feat_static_cat out."
            )
    return panel


class OmnimixPredictor(Predictor):
    """Forecasts of a trained network.

    Args:
        task: with its network built.
        time_features: calendar the network was trained with.
        fields: of the entries that are read.
        levels: quantiles of the forecasts; a point head has only its point unless validation data calibrated it.
    """

    def __init__(
        self,
        task: ForecastTask,
        time_features: TimeFeatures | None = None,
        fields: Sequence[str] = FIELDS,
        levels: Sequence[float] = LEVELS,
    ):
        super().__init__(task.facts["prediction_length"])
        self.task, self.time_features = task, time_features
        self.fields, self.levels = tuple(fields), tuple(levels)
        self.trainer = Runner(
            logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False
        )

    def predict(self, dataset: Dataset) -> Iterator[QuantileForecast]:
        """One forecast an entry, of the `prediction_length` steps after its target.

        Raises:
            UserError: entries with other features than in training, or without the known future.
        """
        entries = iter(dataset)
        while chunk := list(islice(entries, CHUNK)):
            yield from self._forecast(chunk)

    def _forecast(self, entries: list[Entry]) -> Iterator[QuantileForecast]:
        panel = _read(entries, self.fields, self.task.facts["vocabulary"] or None)
        facts = self.task.facts
        data = ForecastData(
            dataset=Fixed(panel, Split(*[everything(panel)] * 3), "gluonts"),
            context_length=facts["context_length"],
            prediction_length=facts["prediction_length"],
            covariate_length=facts["sizes"].get("covariate_length"),
            time_features=self.time_features,
        )
        data.panel, data.scaler = panel, self.task.scaler()
        # By the length of the target, not its last observed value: a series may end with missing ones.
        ends = torch.tensor([np.shape(entry["target"])[-1] for entry in entries])
        part = torch.stack([ends, ends + self.prediction_length], 1)
        windows = data.cut(part, stride=self.prediction_length, minimum_history=1)
        if len(windows) != len(entries):
            raise UserError("gluonts data set: an entry has an empty target; leave it out.")
        forecasts = collect(self.task, self.trainer, data, windows, None, self.levels)
        point = forecasts.original(forecasts.point)
        assert self.task.net is not None
        arrays = {} if isinstance(self.task.net.head, Quantiles) else {"mean": point}
        if forecasts.quantiles is None:
            arrays["0.5"] = point
        else:
            parts = forecasts.quantiles.unbind(-1)
            arrays |= {str(level): forecasts.original(q) for level, q in zip(self.levels, parts, strict=True)}
        several = np.ndim(entries[0]["target"]) > 1
        for n, (entry, end) in enumerate(zip(entries, ends.tolist(), strict=True)):
            values = np.stack([array[n] if several else array[n, :, 0] for array in arrays.values()])
            start = entry["start"]
            period = start if isinstance(start, pd.Period) else pd.Period(start, freq=panel.freq)
            yield QuantileForecast(values, period + end, list(arrays), entry.get("item_id"))

    def serialize(self, path: Path) -> None:
        """Weights and what they were trained on into a folder; `deserialize` needs the network's factory again."""
        super().serialize(path)
        content = {"facts": self.task.facts, "weights": self.task.state_dict()}
        torch.save(content | {"fields": list(self.fields), "levels": list(self.levels)}, Path(path) / "omnimix.pt")

    @classmethod
    def deserialize(
        cls, path: Path, network: Callable[[int, int], nn.Module], time_features: TimeFeatures | None = None
    ) -> "OmnimixPredictor":
        """A predictor that `serialize` has written.

        Args:
            path: the folder.
            network: the factory it was trained with.
            time_features: the calendar it was trained with.
        """
        content = torch.load(Path(path) / "omnimix.pt", map_location="cpu", weights_only=True)
        task = ForecastTask(network)
        task.facts = content["facts"]
        task.build(task.facts["context_length"], task.facts["prediction_length"], task.facts["sizes"])
        task.load_state_dict(content["weights"])
        return cls(task, time_features, content["fields"], content["levels"])


class OmnimixEstimator(Estimator):
    """Trains a network of `apps.timeseries.models` on a gluonts data set.

    Args:
        network: builds the network from (context_length, prediction_length); sizes of the data are added.
        prediction_length: horizon H.
        context_length: look-back L.
        epochs: passes over all windows.
        batch_size: windows in a step.
        stride: steps between training windows.
        time_features: calendar as an input (`apps.timeseries.data.calendar`).
        optimizer, schedule: as in `ForecastTask`.
        gradient_clip: largest norm of the gradient.
        fields: of the entries that are used besides the target.
        levels: quantiles of the forecasts.
        seed: of weights and order.
    """

    def __init__(
        self,
        network: Callable[[int, int], nn.Module],
        prediction_length: int,
        context_length: int,
        epochs: int = 10,
        batch_size: int = 128,
        stride: int = 1,
        time_features: TimeFeatures | None = None,
        optimizer: OptimizerFactory = torch.optim.AdamW,
        schedule: ScheduleFactory | None = None,
        gradient_clip: float = 1.0,
        fields: Sequence[str] = FIELDS,
        levels: Sequence[float] = LEVELS,
        seed: int = 0,
    ):
        super().__init__()
        self.network, self.prediction_length, self.context_length = network, prediction_length, context_length
        self.epochs, self.batch_size, self.stride, self.time_features = epochs, batch_size, stride, time_features
        self.optimizer, self.schedule, self.gradient_clip = optimizer, schedule, gradient_clip
        self.fields, self.levels, self.seed = tuple(fields), tuple(levels), seed

    def train(self, training_data: Dataset, validation_data: Dataset | None = None) -> OmnimixPredictor:
        """The predictor with the weights of the last epoch, or of the best one if there are validation data.

        Args:
            training_data: entries.
            validation_data: the same entries with later steps; the steps that are new choose the epoch, and calibrate
                the quantiles of a point head.

        Raises:
            UserError: entries that do not fit together, or that the network cannot use.
        """
        quiet()
        panel = _read(training_data, self.fields, None)
        past = new = everything(panel)
        if validation_data is not None:
            longer = _read(validation_data, self.fields, panel.vocabulary or None)
            if longer.item_ids != panel.item_ids or bool((longer.history <= panel.history).any()):
                raise UserError(
                    "validation_data: must hold the series of training_data in the same order with later steps."
                )
            panel, new = longer, torch.stack([panel.history, longer.history], 1)
        pl.seed_everything(self.seed, verbose=False)
        task = ForecastTask(self.network, self.optimizer, self.schedule)
        data = ForecastData(
            dataset=Fixed(panel, Split(past, new, new), "gluonts"),
            context_length=self.context_length,
            prediction_length=self.prediction_length,
            time_features=self.time_features,
            batch_size=self.batch_size,
            stride=self.stride,
        )
        with tempfile.TemporaryDirectory() as scratch:
            trainer = Runner(
                max_epochs=self.epochs,
                gradient_clip_val=self.gradient_clip,
                limit_val_batches=None if validation_data is not None else 0,
                enable_checkpointing=validation_data is not None,
                callbacks=[Checkpoints(Path(scratch), task.monitor)] if validation_data is not None else None,
                logger=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
            )
            trainer.fit(task, datamodule=data)
            if validation_data is not None:
                best = torch.load(trainer.checkpoint_callback.best_model_path, map_location="cpu", weights_only=True)
                task.load_state_dict(best["state_dict"])
                task.on_load_checkpoint(best)
        return OmnimixPredictor(task, self.time_features, self.fields, self.levels)
