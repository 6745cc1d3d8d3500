"""Readers for a user's own tables: long (one row a series and time step) and wide (one column a series).

Everything that can be wrong with such a table ends in one sentence naming file, row, column, value and what to do.
What is repaired is repaired only on request, by four arguments:

* `duplicates="mean"` averages rows of the same series and stamp;
* `gaps="fill"` inserts the missing steps: target missing (masked), covariates carry their last value on;
* `missing="fill"` does the same for empty covariate values in the past;
* `dayfirst`, `decimal`, `timezone` say how text is meant (`dates`, `numbers`).

Done without asking, because nothing is lost: rows are sorted by series and time; spaces around column names go; a
constant time-zone offset is dropped; an empty target is a missing value. Rows after a series' last target value are
future rows, in the same table or in a second one (`future`), and carry known-future covariates. A value missing
there is never filled: `windows.WindowDataset` names it when a forecast needs it. Spikes, zeros and negative values
are data and stay.
"""

__all__ = ["Columns", "read_table", "read_wide", "table_header"]

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from core.errors import UserError

from .assemble import Repairs, assemble
from .columns import Columns, Where, distinct
from .dates import time_stamps
from .files import read_frame, table_header
from .numbers import numbers
from .rows import Rows
from .series import Panel


def read_table(
    path: str | Path,
    columns: Columns,
    *,
    future: str | Path | None = None,
    freq: str | None = None,
    duplicates: Literal["error", "mean"] = "error",
    gaps: Literal["error", "fill"] = "error",
    missing: Literal["error", "fill"] = "error",
    dayfirst: bool | None = None,
    decimal: str = ".",
    timezone: str | None = None,
    vocabulary: Mapping[str, Sequence[str]] | None = None,
    item: str | None = None,
) -> Panel:
    """A long table as a panel.

    Args:
        path: .csv, .csv.gz or .parquet file.
        columns: the role of each column.
        future: a second table with known-future covariates of the steps to be forecast; its rows that are not after
            the end of their series are ignored.
        freq: pandas frequency (default: inferred).
        duplicates, gaps, missing, dayfirst, decimal, timezone: see the module.
        vocabulary: categories of each static_cat column from training; others are refused (default: those in the
            table, sorted).
        item: name of the series of a table without item_id column (default: the file's name).

    Raises:
        UserError: one sentence about anything wrong with the table.
    """
    rows, columns = _read(Path(path), columns, dayfirst, decimal, timezone, item)
    if future is not None:
        if not columns.known_future:
            raise UserError(f"{Path(future).name}: a future table needs known_future columns; name them.")
        known = replace(columns, target=columns.known_future[:1], known_future=columns.known_future[1:])
        known = replace(known, past_only=(), static_real=(), static_cat=())
        ahead, _ = _read(Path(future), known, dayfirst, decimal, timezone, item or rows.item_ids[0])
        rows = rows.extended(ahead, len(columns.numeric) - len(columns.known_future))
    repairs = Repairs(duplicates, gaps, missing)
    return assemble(rows, columns, freq, repairs, vocabulary, Path(path).name)


def read_wide(
    path: str | Path,
    columns: Columns,
    *,
    freq: str | None = None,
    duplicates: Literal["error", "mean"] = "error",
    gaps: Literal["error", "fill"] = "error",
    missing: Literal["error", "fill"] = "error",
    dayfirst: bool | None = None,
    decimal: str = ".",
    timezone: str | None = None,
) -> Panel:
    """A wide table as a panel: every column in `columns.target` is a series of its own, with one channel "target".

    All series share the covariates. Empty cells before a series' first value are taken away; those after its last
    value are future rows if there are known-future covariates and otherwise taken away too. Arguments as in
    `read_table`.

    Raises:
        UserError: as in `read_table`; static columns or an item_id are refused, a wide table has no place for them.
    """
    path = Path(path)
    for role in ("item_id", "static_real", "static_cat"):
        if getattr(columns, role):
            raise UserError(f"{path.name}: {role} cannot be given for a wide table; use a long table for it.")
    rows, _ = _read(path, replace(columns, item_id=None), dayfirst, decimal, timezone, "wide", wide=True)
    names = list(columns.target)
    count, steps = len(names), len(rows.stamps)
    targets, covariates = rows.values[:, :count], rows.values[:, count:]
    values = np.concatenate([targets.T.reshape(-1, 1), np.tile(covariates, (count, 1))], axis=1)
    series = np.repeat(np.arange(count), steps)
    where = Where(path.name, np.tile(rows.where.rows, count))
    keep = _within(rows.stamps, targets, bool(columns.known_future))
    wide = Rows(where, series, np.tile(rows.stamps, count), names, values, np.zeros((count * steps, 0)), {}).taken(keep)
    single = replace(columns, target="target", timestamp=None)
    return assemble(wide, single, freq, Repairs(duplicates, gaps, missing), None, path.name)


def _read(
    path: Path,
    columns: Columns,
    dayfirst: bool | None,
    decimal: str,
    timezone: str | None,
    item: str | None,
    wide: bool = False,
) -> tuple[Rows, Columns]:
    columns = columns.resolve(table_header(path), path.name)
    if wide:
        columns = replace(columns, item_id=None)
    assert columns.timestamp is not None  # resolved
    text = [columns.timestamp, *([columns.item_id] if columns.item_id else []), *columns.static_cat]
    frame, where = read_frame(path, text, decimal)
    stamps = time_stamps(frame[columns.timestamp], columns.timestamp, where, dayfirst, timezone)
    if columns.item_id is None:
        series, item_ids = np.zeros(len(frame), dtype=np.int64), [item or path.name.split(".")[0]]
    else:
        series, item_ids = _codes(frame[columns.item_id], columns.item_id, where)
    values = _matrix(frame, columns.numeric, where, decimal)
    static_real = _matrix(frame, columns.static_real, where, decimal)
    static_cat = {name: _codes(frame[name], name, where) for name in columns.static_cat}
    return Rows(where, series, stamps, item_ids, values, static_real, static_cat), columns


def _matrix(frame: pd.DataFrame, names: Sequence[str], where: Where, decimal: str) -> np.ndarray:
    out = np.empty((len(frame), len(names)))
    for column, name in enumerate(names):
        out[:, column] = numbers(frame[name], name, where, decimal)
    return out


def _codes(column: pd.Series, name: str, where: Where) -> tuple[np.ndarray, list[str]]:
    """Number of each text in order of first appearance, and the texts."""
    codes, texts = distinct(column)
    empty = np.flatnonzero((codes < 0) | np.isin(codes, [k for k, text in enumerate(texts) if not text]))
    if empty.size:
        raise UserError(f"{where[empty[0]]} column {name}: is empty; give every row a value.")
    return codes, texts


def _within(stamps: np.ndarray, targets: np.ndarray, keep_future: bool) -> np.ndarray:
    """Which cells of a wide table lie within their series, series after series."""
    order = np.argsort(stamps, kind="stable")
    given = ~np.isnan(targets[order])
    begun = np.maximum.accumulate(given, axis=0)
    unfinished = np.maximum.accumulate(given[::-1], axis=0)[::-1]
    inside = begun if keep_future else begun & unfinished
    # A column without any value stays, so that its emptiness is reported by name.
    inside |= ~given.any(axis=0)
    out = np.empty_like(inside)
    out[order] = inside
    return out.T.reshape(-1)
