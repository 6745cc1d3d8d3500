"""Standardisation with training statistics, and the way back to original units.

Every column of a panel on its own: (x - mean) / std with the mean and the population deviation of the training
rows, pooled over the series, as in the releases of the Informer line. Their scaler is fitted on all columns and
cannot take back one of them, the most repeated complaint about them; here forecasts always return in original
units by `restore`.
"""

__all__ = ["Scaler"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.errors import UserError

from .series import Panel


@dataclass(frozen=True)
class Scaler:
    """Mean and deviation of each column; plain values, so it goes into a checkpoint as `dataclasses.asdict`.

    Args:
        columns: names of the panel's columns, targets first.
        loc, scale: one number a column.
        targets: how many of the columns are targets.
        static_loc, static_scale: the same for the static real columns.
    """

    columns: tuple[str, ...]
    loc: tuple[float, ...]
    scale: tuple[float, ...]
    targets: int
    static_loc: tuple[float, ...] = ()
    static_scale: tuple[float, ...] = ()

    @classmethod
    def fit(cls, panel: Panel, rows: Tensor | None = None) -> "Scaler":
        """Statistics of `rows` (S, 2), the first and the end row of each series (default: all).

        A constant column has scale 1: its standardised value is 0 and a forecast of 0 is the constant.

        Raises:
            UserError: a column without any value in these rows.
        """
        values = panel.values.numpy()
        if rows is not None:
            begin, end = (panel.offsets[:-1, None] + rows).unbind(1)
            chosen = np.zeros(len(values) + 1, dtype=np.int64)
            np.add.at(chosen, begin.numpy(), 1)
            np.add.at(chosen, end.numpy(), -1)
            values = values[chosen.cumsum()[:-1] > 0]
        loc, scale = _moments(values, panel.columns, panel.source)
        static_loc, static_scale = _moments(panel.reals.numpy(), panel.static_real_names, panel.source)
        return cls(panel.columns, loc, scale, len(panel.target), static_loc, static_scale)

    def transform(self, panel: Panel, rows: Tensor | None = None) -> Tensor:
        """The standardised values of a panel with these columns, (N, C) float32; NaN stays NaN.

        Args:
            panel: the series.
            rows: numbers of the wanted rows of `panel.values` (default: all).

        Raises:
            UserError: the panel has other columns than the one the statistics come from.
        """
        if panel.columns != self.columns:
            raise UserError(
                f"{panel.source}: has the columns {', '.join(panel.columns)}, but the scaling was fitted on "
                f"{', '.join(self.columns)}; give the same columns in the same roles."
            )
        # In float64: a large mean would otherwise cost the digits that matter.
        return _standardise(panel.values if rows is None else panel.values[rows], self.loc, self.scale)

    def transform_static(self, panel: Panel) -> Tensor:
        """The standardised static real attributes, (S, R)."""
        return _standardise(panel.reals, self.static_loc, self.static_scale)

    def restore(self, forecast: Tensor, dim: int = -1) -> Tensor:
        """Standardised target values back in original units; `dim` is the axis of the K targets."""
        shape = [1] * forecast.ndim
        shape[dim] = self.targets
        loc, scale = (
            torch.tensor(x[: self.targets], dtype=forecast.dtype, device=forecast.device).view(shape)
            for x in (self.loc, self.scale)
        )
        return forecast * scale + loc


def _standardise(values: Tensor, loc: Sequence[float], scale: Sequence[float]) -> Tensor:
    out = torch.empty_like(values)
    for column, (mean, deviation) in enumerate(zip(loc, scale, strict=True)):
        out[:, column] = ((values[:, column].double() - mean) / deviation).float()
    return out


def _moments(values: np.ndarray, names: Sequence[str], source: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    loc, scale = [], []
    for name, column in zip(names, values.T, strict=True):
        known = column[~np.isnan(column)].astype(np.float64)
        if not known.size:
            raise UserError(f"{source} column {name}: has no value in the training rows; remove the column or fill it.")
        loc.append(float(known.mean()))
        # Compared exactly: the deviation of equal numbers can come out as 1e-17 instead of 0.
        scale.append(float(known.std()) if known.min() < known.max() else 1.0)
    return tuple(loc), tuple(scale)
