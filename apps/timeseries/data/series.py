"""The common form of all forecasting data: many series of unequal length in one tensor.

Rows are time steps, series lie one after the other, `offsets` are their starts, columns are grouped by role:
target (K), past-only covariates (P), known-future covariates (F). A missing value is NaN. Rows after the last
observed target are *future rows*: they hold known covariates only, and forecasting begins there.

Decided differently from gluonts, which keeps one dictionary of arrays a series: windows are then cut in Python,
sample by sample; from one tensor a whole batch is one gather (`windows.WindowDataset`). A panel has one frequency;
series of different frequency need different look-backs and are refused where a panel is made.
"""

__all__ = ["Panel"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .calendar import stamps


@dataclass(frozen=True, eq=False)
class Panel:
    """Series of one frequency and the same columns.

    Args:
        values: float32 (N, K + P + F), the columns `target`, `past_only`, `known_future` in this order, original
            units, NaN where missing.
        offsets: int64 (S + 1,), series s has the rows `offsets[s]:offsets[s + 1]`.
        item_ids: S names.
        starts: datetime64[ns] (S,), the time stamp of each first row, local wall time without zone.
        freq: pandas frequency ("h", "15min", "MS") of all series.
        target, past_only, known_future: column names.
        static_real: float32 (S, R) with `static_real_names`.
        static_cat: int64 (S, Q), codes into the categories that `vocabulary` lists for each column name, in order.
        source: file or set the series come from, for messages.

    Raises:
        ValueError: sizes that do not fit together.
    """

    values: Tensor
    offsets: Tensor
    item_ids: tuple[str, ...]
    starts: np.ndarray
    freq: str
    target: tuple[str, ...]
    past_only: tuple[str, ...] = ()
    known_future: tuple[str, ...] = ()
    static_real: Tensor | None = None
    static_real_names: tuple[str, ...] = ()
    static_cat: Tensor | None = None
    vocabulary: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    source: str = "series"

    def __post_init__(self) -> None:
        count = len(self.item_ids)
        wanted = {
            "values": (self.values.shape, (int(self.offsets[-1]), len(self.columns))),
            "offsets": (self.offsets.shape, (count + 1,)),
            "starts": (self.starts.shape, (count,)),
            "static_real": (self.reals.shape, (count, len(self.static_real_names))),
            "static_cat": (self.categories.shape, (count, len(self.vocabulary))),
        }
        for name, (got, want) in wanted.items():
            if tuple(got) != want:
                raise ValueError(f"Panel {self.source}: {name} has shape {tuple(got)}, expected {want}.")
        if self.values.dtype != torch.float32:
            raise ValueError(f"Panel {self.source}: values are {self.values.dtype}, expected torch.float32.")

    def __len__(self) -> int:
        return len(self.item_ids)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of `values`."""
        return (*self.target, *self.past_only, *self.known_future)

    @property
    def lengths(self) -> Tensor:
        """Rows of each series, (S,)."""
        return self.offsets.diff()

    @property
    def reals(self) -> Tensor:
        """`static_real`, (S, 0) if there is none."""
        return torch.zeros(len(self), 0) if self.static_real is None else self.static_real

    @property
    def categories(self) -> Tensor:
        """`static_cat`, (S, 0) if there is none."""
        return torch.zeros(len(self), 0, dtype=torch.long) if self.static_cat is None else self.static_cat

    @cached_property
    def observed(self) -> Tensor:
        """Where the target is given, bool (N, K)."""
        return ~self.values[:, : len(self.target)].isnan()

    @cached_property
    def history(self) -> Tensor:
        """Rows of each series up to its last observed target, (S,); the rows after them are future rows."""
        series = torch.repeat_interleave(torch.arange(len(self)), self.lengths)
        row = torch.arange(len(self.values)) - self.offsets[series]
        seen = torch.where(self.observed.any(1), row + 1, 0)
        return torch.zeros(len(self), dtype=torch.long).scatter_reduce(0, series, seen, "amax")

    def rows(self, item: int) -> Tensor:
        """The rows of series `item`, (T, K + P + F), a view."""
        return self.values[self.offsets[item] : self.offsets[item + 1]]

    def stamps(self, item: int, first: int = 0, count: int | None = None) -> pd.DatetimeIndex:
        """Time stamps of `count` rows of a series from row `first`; rows outside the series continue its calendar."""
        count = int(self.lengths[item]) - first if count is None else count
        rows = np.arange(first, first + count)
        return stamps(self.starts, self.freq, np.full(count, item), rows)
