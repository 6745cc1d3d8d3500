"""Series to batches for training, evaluation and prediction."""

__all__ = ["ForecastData"]

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from core.errors import UserError
from core.training.loader import EpochShuffle, ResumableLoader

from .scaler import Scaler
from .series import Panel
from .sources import Source
from .splits import Split, horizon, proportions
from .table import Columns, read_table, read_wide
from .windows import WindowDataset, as_is

TimeFeatures = Callable[[pd.DatetimeIndex, str], np.ndarray]


class ForecastData(pl.LightningDataModule):
    """Windows of a public set (`dataset`) or of your own table (`path`).

    Column lists may be written with commas: `--data.known_future load,wind`.

    Args:
        dataset: a public or built-in set.
        path: your own .csv, .csv.gz or .parquet file, long form; goes before `dataset`.
        target: column or columns to forecast.
        known_future: covariates whose values are known for the steps to be forecast.
        past_only: covariates known up to now.
        timestamp: column of time stamps; found by its usual names if not given.
        item_id: column that tells series apart.
        static_real: numbers that belong to a series.
        static_cat: categories that belong to a series.
        wide: every target column is a series of its own instead of a channel.
        future: a second table with the known covariates of the steps to be forecast.
        freq: pandas frequency, inferred if not given.
        duplicates: what to do with a time stamp that appears twice: error or mean.
        gaps: what to do with missing time stamps: error or fill.
        missing: what to do with an empty covariate: error or fill (with the last value).
        dayfirst: how 03/04/2021 is meant.
        decimal: the decimal point of the file.
        timezone: of time stamps with an offset.
        context_length: look-back.
        prediction_length: horizon.
        covariate_length: look-back of covariates, that of the target if not given.
        time_features: calendar as an input: apps.timeseries.data.calendar.cyclic or .marks.
        batch_size: windows in a step.
        stride: steps between training windows.
        test_stride: steps between test windows; 1 in the paper protocol.
        train, test: shares of each series of your own table; validation lies between.
        workers: loader processes; making a batch is one gather, so none is fastest here.
    """

    def __init__(
        self,
        dataset: Source | None = None,
        path: str | None = None,
        target: str | list[str] | None = None,
        known_future: str | list[str] | None = None,
        past_only: str | list[str] | None = None,
        timestamp: str | None = None,
        item_id: str | None = None,
        static_real: str | list[str] | None = None,
        static_cat: str | list[str] | None = None,
        wide: bool = False,
        future: str | None = None,
        freq: str | None = None,
        duplicates: str = "error",
        gaps: str = "error",
        missing: str = "error",
        dayfirst: bool | None = None,
        decimal: str = ".",
        timezone: str | None = None,
        context_length: int = 168,
        prediction_length: int = 24,
        covariate_length: int | None = None,
        time_features: TimeFeatures | None = None,
        batch_size: int = 128,
        stride: int = 1,
        test_stride: int = 1,
        train: float = 0.7,
        test: float = 0.2,
        workers: int = 0,
    ):
        super().__init__()
        self.dataset, self.path, self.future, self.wide = dataset, path, future, wide
        if dataset is None and path is None:
            raise UserError("--data: name a table with --data.path and --data.target, or a set with --data.dataset.")
        if wide and future is not None:
            raise UserError(f"{future}: a wide table has its future rows in the same file; leave out --data.future.")
        if path is not None and target is None:
            raise UserError(f"{path}: name the column to forecast with --data.target.")
        self.columns = None
        if target is not None:
            self.columns = Columns(
                target=_names(target),
                timestamp=timestamp,
                item_id=item_id,
                known_future=_names(known_future),
                past_only=_names(past_only),
                static_real=_names(static_real),
                static_cat=_names(static_cat),
            )
        self.reading = {
            "freq": freq,
            "duplicates": duplicates,
            "gaps": gaps,
            "missing": missing,
            "dayfirst": dayfirst,
            "decimal": decimal,
            "timezone": timezone,
        }
        self.context_length, self.prediction_length = context_length, prediction_length
        self.covariate_length, self.time_features = covariate_length, time_features
        self.batch_size, self.stride, self.test_stride = batch_size, stride, test_stride
        self.shares, self.workers = (train, test), workers
        self.panel: Panel | None = None
        self.scaler: Scaler | None = None
        self.parts: Split | None = None
        self.windows: dict[str, WindowDataset] = {}

    @property
    def label(self) -> str:
        """The data in a word."""
        if self.path is not None:
            return self.path.rsplit("/", 1)[-1]
        return self.dataset.label if self.dataset else "series"

    def read(self, vocabulary: dict | None = None) -> Panel:
        """The series, read once."""
        if self.panel is None:
            if self.path is not None and self.wide:
                assert self.columns is not None
                self.panel = read_wide(self.path, self.columns, **self.reading)
            elif self.path is not None:
                assert self.columns is not None
                self.panel = read_table(
                    self.path, self.columns, future=self.future, vocabulary=vocabulary, **self.reading
                )
            else:
                assert self.dataset is not None
                self.panel = self.dataset.panel()
        return self.panel

    def setup(self, stage: str | None = None) -> None:
        """Reads, splits, fits the scaler on the training rows; windows are made when asked for."""
        if self.parts is not None:
            return
        panel = self.read()
        own = self.path is not None or self.dataset is None
        self.parts = proportions(panel, *self.shares) if own else self.dataset.split(panel)
        self.scaler = self.scaler or Scaler.fit(panel, self.parts.train)

    def part(self, name: str) -> WindowDataset:
        """Windows of train, validation or test."""
        if name not in self.windows:
            self.setup()
            part: Tensor = getattr(self.parts, name)
            stride = {"train": self.stride, "validation": 1, "test": self.test_stride}[name]
            self.windows[name] = self.cut(part, stride=stride)
        return self.windows[name]

    def cut(self, part: Tensor, *, stride: int = 1, minimum_history: int | None = None) -> WindowDataset:
        """Windows of any part (S, 2) of the panel, with this module's lengths and scaling."""
        assert self.panel is not None and self.scaler is not None
        return WindowDataset(
            self.panel,
            part,
            self.scaler,
            context_length=self.context_length,
            prediction_length=self.prediction_length,
            covariate_length=self.covariate_length,
            time_features=self.time_features,
            stride=stride,
            minimum_history=minimum_history,
        )

    def horizon_windows(self) -> WindowDataset:
        """One window a series: the steps after its last observed target."""
        assert self.panel is not None
        return self.cut(horizon(self.panel, self.prediction_length), stride=self.prediction_length, minimum_history=1)

    def loader(self, windows: WindowDataset, shuffled: bool = False) -> DataLoader:
        """Batches of windows; the order of a shuffled one depends on seed and epoch alone."""
        seed = int(torch.initial_seed() % 2**31)
        return ResumableLoader(
            windows,
            batch_size=self.batch_size if shuffled else max(self.batch_size, 256),
            sampler=EpochShuffle(len(windows), seed) if shuffled else None,
            collate_fn=as_is,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )

    def train_dataloader(self) -> DataLoader:
        return self.loader(self.part("train"), shuffled=True)

    def val_dataloader(self) -> DataLoader:
        return self.loader(self.part("validation"))

    def test_dataloader(self) -> DataLoader:
        return self.loader(self.part("test"))

    def sizes(self) -> dict[str, Any]:
        """What a network's constructor needs to know of the data, in gluonts' names."""
        panel = self.read()
        calendar = 0
        if self.time_features is not None:
            calendar = self.time_features(panel.stamps(0, 0, 1), panel.freq).shape[1]
        return {
            "target_dim": len(panel.target),
            "num_feat_dynamic_real": len(panel.known_future),
            "num_past_feat_dynamic_real": len(panel.past_only),
            "num_time_feat": calendar,
            "num_feat_static_real": len(panel.static_real_names),
            "cardinality": [len(categories) for categories in panel.vocabulary.values()],
            "covariate_length": self.covariate_length,
        }

    def describe(self) -> str:
        """Names and sizes for the first line of a run."""
        counts = [f"{name} {len(windows):,}" for name, windows in self.windows.items()]
        return f"{self.label}, {len(self.read())} series, windows: {', '.join(counts) or 'none'}"


def _names(value: str | list[str] | None) -> tuple[str, ...]:
    """Names from a list or a text with commas."""
    if value is None:
        return ()
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(part.strip() for part in parts if part.strip())
