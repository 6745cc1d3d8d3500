"""Closed-form ridge regression on whole windows: the linear baseline every network has to beat.

Inputs of one forecast: the target's look-back, each covariate's look-back and, where known, its horizon, the hour and
weekday of the first forecast step as one-hot, a constant.  Every series is normalised by its own mean and deviation
over the look-back; the solution W = (X'X + lambda I)^-1 X'Y is taken in that space, the constant not penalised, and
lambda chosen by the validation windows' squared error.  Several targets share their weights, as samples.
"""

__all__ = ["LAMBDAS", "Ridge"]

from collections.abc import Iterator

import torch
from torch import Tensor

from apps.timeseries.data.calendar import stamps
from apps.timeseries.data.windows import WindowDataset
from apps.timeseries.forecasts import Forecasts
from apps.timeseries.models.normalize import window_statistics

LAMBDAS = (1.0, 10.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0, 30000.0)
CHUNK = 2048


class Ridge:
    """Fits on training windows, chooses lambda on validation windows.

    Args:
        train, validation: windows of the same lengths and scaling.
        lambdas: penalties to choose from.
    """

    def __init__(self, train: WindowDataset, validation: WindowDataset, lambdas: tuple[float, ...] = LAMBDAS):
        gram, cross = None, None
        for x, y, *_ in self._samples(train):
            gram = x.mT @ x if gram is None else gram + x.mT @ x
            cross = x.mT @ y if cross is None else cross + x.mT @ y
        penalty = torch.ones(len(gram), dtype=torch.float64)
        penalty[-1] = 0
        # One factorisation serves all penalties but for the free constant, so solving anew is simpler and enough.
        solutions = [torch.linalg.solve(gram + torch.diag(value * penalty + 1e-9), cross) for value in lambdas]
        errors = torch.zeros(len(lambdas), dtype=torch.float64)
        for x, y, scale, seen in self._samples(validation):
            for n, weights in enumerate(solutions):
                errors[n] += (((x @ weights - y) * scale)[seen]).square().sum()
        self.penalty = lambdas[int(errors.argmin())]
        self.weights = solutions[int(errors.argmin())]

    def __call__(self, windows: WindowDataset, like: Forecasts) -> Forecasts:
        """Forecasts of all windows; `like` holds the same windows of another forecast."""
        parts = []
        for batch in _batches(windows):
            x, loc, scale = self._inputs(batch)
            count, steps, targets = batch["future_target"].shape
            y = (x @ self.weights).view(count, targets, steps).transpose(1, 2) * scale + loc
            parts.append(y.float())
        return Forecasts(torch.cat(parts), like.target, like.item, like.start, like.panel, like.scaler)

    def _samples(self, windows: WindowDataset) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        for batch in _batches(windows):
            x, loc, scale = self._inputs(batch)
            y = ((batch["future_target"].double() - loc) / scale).transpose(1, 2).flatten(0, 1)
            seen = batch["future_observed_values"].transpose(1, 2).flatten(0, 1)
            spread = scale.transpose(1, 2).flatten(0, 1).expand_as(y)
            yield x, y.masked_fill(~seen, 0), spread, seen

    @staticmethod
    def _inputs(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """`(B * K, inputs)`, and the targets' loc and scale `(B, 1, K)`."""
        past, observed = batch["past_target"].double(), batch["past_observed_values"]
        loc, scale = window_statistics(past, observed)
        own = (((past - loc) / scale) * observed).transpose(1, 2).flatten(0, 1)
        shared = []
        for name in ("past_feat_dynamic_real", "feat_dynamic_real"):
            if name in batch:
                series = batch[name].double()
                steps = series.shape[1] - (batch["future_target"].shape[1] if name == "feat_dynamic_real" else 0)
                mean, spread = window_statistics(series[:, :steps])
                shared.append(((series - mean) / spread).flatten(1))
        shared += [batch["clock"].double(), past.new_ones(len(past), 1)]
        common = torch.cat(shared, 1).repeat_interleave(past.shape[2], 0)
        return torch.cat([own, common], 1), loc, scale


def _batches(windows: WindowDataset) -> Iterator[dict[str, Tensor]]:
    """All windows in order, with the hour and weekday of the first forecast step as one-hot `clock (B, 31)`."""
    panel = windows.panel
    for first in range(0, len(windows), CHUNK):
        batch = windows.__getitems__(list(range(first, min(len(windows), first + CHUNK))))
        index = stamps(panel.starts, panel.freq, batch["item"].numpy(), batch["forecast_start"].numpy())
        clock = torch.zeros(len(index), 31)
        rows = torch.arange(len(index))
        clock[rows, torch.tensor(index.hour.to_numpy().copy()).long()] = 1
        clock[rows, 24 + torch.tensor(index.weekday.to_numpy().copy()).long()] = 1
        yield {**batch, "clock": clock}
