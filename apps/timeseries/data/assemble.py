"""From parsed rows in any order to a panel: sort, duplicates, frequency, gaps, missing covariates."""

__all__ = ["Repairs", "assemble"]

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from core.errors import UserError

from .columns import Columns
from .frequency import infer_frequency, parse_frequency, positions
from .rows import Rows, static_attributes
from .series import Panel


class Repairs(NamedTuple):
    """What may be repaired: "error" or the repair."""

    duplicates: str
    gaps: str
    missing: str

    def check(self) -> None:
        for name, allowed in (("duplicates", "mean"), ("gaps", "fill"), ("missing", "fill")):
            if getattr(self, name) not in ("error", allowed):
                raise UserError(f"--data.{name} {getattr(self, name)!r}: must be 'error' or {allowed!r}.")


def assemble(
    rows: Rows,
    columns: Columns,
    freq: str | None,
    repairs: Repairs,
    vocabulary: Mapping[str, Sequence[str]] | None,
    source: str,
) -> Panel:
    """The panel of these rows; series in order of their names' first appearance.

    Raises:
        UserError: see `table`.
    """
    repairs.check()
    if freq is not None:
        parse_frequency(freq)
    order = np.arange(len(rows.series))
    step = np.diff(rows.series)
    if not ((step > 0) | ((step == 0) & (np.diff(rows.stamps) >= np.timedelta64(0)))).all():
        order = np.lexsort((rows.stamps, rows.series))
    static_real, static_cat, vocabulary = static_attributes(rows, columns, vocabulary)
    order, values = _single(rows, order, repairs)
    series, stamps = rows.series[order], rows.stamps[order]
    freq = freq or infer_frequency(series, stamps, rows.item_ids, rows.where, order)
    place = positions(freq, series, stamps, rows.item_ids, rows.where, order)

    offsets = np.concatenate([[0], np.flatnonzero(np.diff(series)) + 1, [len(series)]])
    targets = len(columns.target)
    past = _before_end(values[:, :targets], offsets, rows.item_ids, source)
    if repairs.missing == "error":
        _check_missing(values, past, rows, columns, order)
    inserted = np.diff(place, prepend=0) > 1
    if inserted.any():
        values, place, past, offsets = _insert(values, place, past, offsets, inserted, rows, order, freq, repairs)
    if targets < values.shape[1] and (inserted.any() or repairs.missing == "fill"):
        _carry_on(values[:, targets:], past, offsets, columns.numeric[targets:], rows.item_ids, source)

    begin = np.flatnonzero(np.diff(series, prepend=-1))
    return Panel(
        torch.from_numpy(values.astype(np.float32)),
        torch.from_numpy(offsets.astype(np.int64)),
        tuple(rows.item_ids),
        stamps[begin].astype("datetime64[ns]"),
        freq,
        tuple(columns.target),
        tuple(columns.past_only),
        tuple(columns.known_future),
        torch.from_numpy(static_real),
        tuple(columns.static_real),
        torch.from_numpy(static_cat),
        vocabulary,
        source,
    )


def _single(rows: Rows, order: np.ndarray, repairs: Repairs) -> tuple[np.ndarray, np.ndarray]:
    """Sorted rows with each stamp once a series: their numbers, and their values."""
    again = (np.diff(rows.series[order]) == 0) & (np.diff(rows.stamps[order]) == np.timedelta64(0))
    again = np.concatenate([[False], again])
    if not again.any():
        return order, rows.values[order]
    if repairs.duplicates == "error":
        # Named is the row lowest in the file, which the sort need not have put last.
        k = int(np.flatnonzero(again)[0])
        row = max(int(order[k - 1]), int(order[k]))
        shown = f"timestamp {pd.Timestamp(rows.stamps[row]):%Y-%m-%d %H:%M}"
        if len(rows.item_ids) > 1:
            shown += f" of series {rows.item_ids[rows.series[row]]!r}"
        raise UserError(
            f"{rows.where[row]}: {shown} appears twice (daylight saving?); remove one or pass --data.duplicates mean."
        )
    group = np.flatnonzero(~again)
    values = rows.values[order]
    known = ~np.isnan(values)
    total = np.add.reduceat(np.where(known, values, 0.0), group, axis=0)
    count = np.add.reduceat(known, group, axis=0, dtype=np.int64)
    with np.errstate(invalid="ignore"):
        return order[group], np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _before_end(targets: np.ndarray, offsets: np.ndarray, item_ids: Sequence[str], source: str) -> np.ndarray:
    """Which rows are not after their series' last target value."""
    given = ~np.isnan(targets).all(axis=1)
    last = np.maximum.reduceat(np.where(given, np.arange(len(given)), -1), offsets[:-1])
    empty = np.flatnonzero(last < 0)
    if empty.size:
        raise UserError(f"{source}: series {item_ids[empty[0]]!r} has no target value at all; remove or fill it.")
    return np.arange(len(given)) <= np.repeat(last, np.diff(offsets))


def _check_missing(values: np.ndarray, past: np.ndarray, rows: Rows, columns: Columns, order: np.ndarray) -> None:
    missing = np.isnan(values)
    missing[:, : len(columns.target)] = False
    missing &= past[:, None]
    if missing.any():
        k, column = (int(x) for x in np.argwhere(missing)[0])
        name = columns.numeric[column]
        role = "past-only" if name in columns.past_only else "known-future"
        stamp = f"{pd.Timestamp(rows.stamps[order[k]]):%Y-%m-%d %H:%M}"
        raise UserError(
            f"{rows.where[order[k]]} column {name}: the {role} covariate has no value at {stamp} of series "
            f"{rows.item_ids[rows.series[order[k]]]!r}; fill it, or pass --data.missing fill to carry the "
            "last value on."
        )


def _insert(
    values: np.ndarray,
    place: np.ndarray,
    past: np.ndarray,
    offsets: np.ndarray,
    inserted: np.ndarray,
    rows: Rows,
    order: np.ndarray,
    freq: str,
    repairs: Repairs,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows of missing steps put in, empty."""
    first = int(np.flatnonzero(inserted)[0])
    row, before = int(order[first]), pd.Timestamp(rows.stamps[order[first - 1]])
    after, lost = pd.Timestamp(rows.stamps[row]), int(place[first] - place[first - 1]) - 1
    item = rows.item_ids[rows.series[row]]
    if row >= len(rows.series) - rows.ahead and past[first - 1]:
        raise UserError(
            f"{rows.where[row]}: series {item!r} goes on at {after:%Y-%m-%d %H:%M}, but its past ends at "
            f"{before:%Y-%m-%d %H:%M} (frequency {freq}); add the rows between."
        )
    if repairs.gaps == "error":
        raise UserError(
            f"{rows.where[row]}: {lost} step{'s are' if lost > 1 else ' is'} missing between {before:%Y-%m-%d %H:%M} "
            f"and {after:%Y-%m-%d %H:%M} of series {item!r} (frequency {freq}; daylight saving?); add the rows or pass "
            "--data.gaps fill."
        )
    sizes = place[offsets[1:] - 1] + 1
    if sizes.sum() > 10 * len(values) + 1_000_000:
        raise UserError(
            f"{rows.where[row]}: filling the gaps would make {sizes.sum():,} rows of {len(values):,}; pass a longer "
            "--data.freq, or remove stray time stamps."
        )
    new = np.concatenate([[0], sizes.cumsum()])
    target = np.repeat(new[:-1], np.diff(offsets)) + place
    wider = np.full((new[-1], values.shape[1]), np.nan)
    wider[target] = values
    end = np.zeros(len(sizes), dtype=np.int64)
    np.maximum.at(end, np.repeat(np.arange(len(sizes)), np.diff(offsets)), np.where(past, place, 0))
    number = np.arange(new[-1]) - np.repeat(new[:-1], sizes)
    return wider, number, number <= np.repeat(end, sizes), new


def _carry_on(
    covariates: np.ndarray,
    past: np.ndarray,
    offsets: np.ndarray,
    names: Sequence[str],
    item_ids: Sequence[str],
    source: str,
) -> None:
    """Missing covariates of the past take the last value before, at the start the first after; in place."""
    number = np.arange(len(covariates))
    begin = np.repeat(offsets[:-1], np.diff(offsets))
    end = np.repeat(offsets[1:], np.diff(offsets))
    for column, name in enumerate(names):
        known = ~np.isnan(covariates[:, column])
        before = np.maximum.accumulate(np.where(known, number, -1))
        after = np.minimum.accumulate(np.where(known, number, len(number))[::-1])[::-1]
        source_row = np.where(before >= begin, before, after)
        need = past & ~known
        lost = np.flatnonzero(need & (source_row >= end))
        if lost.size:
            item = item_ids[int(np.searchsorted(offsets, lost[0], side="right")) - 1]
            raise UserError(f"{source} column {name}: has no value at all in series {item!r}; leave the column out.")
        covariates[need, column] = covariates[source_row[need], column]
