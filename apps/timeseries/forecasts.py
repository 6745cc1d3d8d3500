"""A set of forecasts and what was observed, from which every protocol takes its numbers."""

__all__ = ["Forecasts"]

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from apps.timeseries.data.scaler import Scaler
from apps.timeseries.data.series import Panel


@dataclass
class Forecasts:
    """Forecasts of N windows in standardised units.

    Args:
        point: `(N, H, K)`.
        target: `(N, H, K)`, NaN where not observed.
        item, start: `(N,)` series and row of the first forecast step.
        panel, scaler: where they belong.
        quantiles: `(N, H, K, Q)` at `levels`, if there are any.
    """

    point: Tensor
    target: Tensor
    item: Tensor
    start: Tensor
    panel: Panel
    scaler: Scaler
    quantiles: Tensor | None = None
    levels: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.point)

    def original(self, values: Tensor) -> np.ndarray:
        """Standardised `(N, H, K)` values in the units of the data, float64."""
        return self.scaler.restore(values.double(), dim=2).numpy()

    def scaled_errors(self) -> dict[str, float]:
        """MSE and MAE over all windows, steps and targets, in standardised units (the paper protocol)."""
        error = (self.point.double() - self.target.double()).flatten()
        error = error[~error.isnan()]
        return {"MSE": error.square().mean().item(), "MAE": error.abs().mean().item()}

    def stamps(self, window: int, before: int = 0) -> pd.DatetimeIndex:
        """Time stamps of a window's steps, `before` steps of the past first."""
        steps = self.point.shape[1]
        return self.panel.stamps(int(self.item[window]), int(self.start[window]) - before, steps + before)

    def past(self, window: int, steps: int) -> np.ndarray:
        """The last `steps` observed targets before a window `(steps, K)`, original units."""
        rows, start = self.panel.rows(int(self.item[window])), int(self.start[window])
        return rows[max(0, start - steps) : start, : len(self.panel.target)].numpy()

    def lagged(self, lag: int) -> Tensor:
        """What was observed `lag` steps before each forecast step, standardised `(N, H, K)`; lag of at least H."""
        steps = torch.arange(self.point.shape[1])
        rows = (self.panel.offsets[self.item] + self.start)[:, None] + steps - lag
        values = self.scaler.transform(self.panel)[:, : len(self.panel.target)]
        return values[rows.clamp(min=0)]
