"""To and from gluonts data entries, one dictionary of NumPy arrays a series.

gluonts puts the covariate axis first and time last, keeps `start` as a pandas Period, and lets `feat_dynamic_real`
be longer than `target` by the steps to be forecast; a panel has time first, a time stamp, and future rows. Category
codes have no names there; they are named by their numbers.
"""

__all__ = ["from_entries", "to_entries"]

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from core.errors import UserError

from .frequency import parse_frequency
from .series import Panel

Entry = dict[str, Any]


def from_entries(
    entries: Iterable[Mapping[str, Any]],
    freq: str | None = None,
    *,
    target: Sequence[str] | None = None,
    past_only: Sequence[str] | None = None,
    known_future: Sequence[str] | None = None,
    vocabulary: Mapping[str, Sequence[str]] | None = None,
    source: str = "gluonts data set",
) -> Panel:
    """A panel from entries with `start`, `target` and optionally `item_id`, `feat_dynamic_real`,
    `past_feat_dynamic_real`, `feat_static_real`, `feat_static_cat`.

    Args:
        entries: for example a gluonts ListDataset.
        freq: pandas frequency (default: that of the first entry's period).
        target, past_only, known_future: column names (default: target, past_0 ..., known_0 ...).
        vocabulary: names of the categories, by column (default: static_0 ... with the codes as names).
        source: for messages.

    Raises:
        UserError: no entries, entries of different frequency or with different features, lengths that do not fit.
    """
    series: list[tuple[np.ndarray, str, np.datetime64, np.ndarray, np.ndarray]] = []
    shape: tuple[int, ...] | None = None
    for number, entry in enumerate(entries):
        name = str(entry.get("item_id", number))
        start, step = _stamp(entry["start"], freq, f"{source}: series {name!r}")
        freq = freq or step
        if step and freq and parse_frequency(step) != parse_frequency(freq):
            raise UserError(
                f"{source}: series {name!r} has the frequency {step}, the first one {freq}; read them apart."
            )
        y, known, past = (_matrix(entry.get(key)) for key in ("target", "feat_dynamic_real", "past_feat_dynamic_real"))
        history, length = y.shape[1], max(y.shape[1], known.shape[1])
        real = np.asarray(entry.get("feat_static_real", ()), dtype=np.float32).reshape(-1)
        code = np.asarray(entry.get("feat_static_cat", ()), dtype=np.int64).reshape(-1)
        mine = (len(y), len(past), len(known), len(real), len(code))
        shape = shape or mine
        if mine != shape:
            raise UserError(
                f"{source}: series {name!r} has {mine} targets, past, known, static real and static categorical "
                f"features, the first series {shape}; give all series the same."
            )
        if (len(known) and known.shape[1] < history) or (len(past) and past.shape[1] < history):
            raise UserError(
                f"{source}: series {name!r} has covariates shorter than its target; give every step a value."
            )
        block = np.full((length, sum(mine[:3])), np.nan, dtype=np.float32)
        block[:history, : len(y)] = y.T
        if len(past):
            block[:history, len(y) : len(y) + len(past)] = past.T[:history]
        if len(known):
            block[: known.shape[1], len(y) + len(past) :] = known.T
        series.append((block, name, start, real, code))
    if shape is None or freq is None:
        raise UserError(f"{source}: has no series.")
    blocks, item_ids, starts, reals, code_rows = zip(*series, strict=True)
    codes = np.stack(code_rows)
    if vocabulary is None:
        vocabulary = {f"static_{k}": [str(code) for code in range(codes[:, k].max() + 1)] for k in range(shape[4])}
    return Panel(
        torch.from_numpy(np.concatenate(blocks)),
        torch.tensor([0, *np.cumsum([len(block) for block in blocks]).tolist()]),
        tuple(item_ids),
        np.array(starts, dtype="datetime64[ns]"),
        freq,
        _named(target, "target", shape[0]) if shape[0] > 1 else tuple(target or ("target",)),
        _named(past_only, "past", shape[1]),
        _named(known_future, "known", shape[2]),
        torch.from_numpy(np.stack(reals)),
        tuple(f"real_{k}" for k in range(shape[3])),
        torch.from_numpy(codes),
        {name: tuple(texts) for name, texts in vocabulary.items()},
        source,
    )


def to_entries(panel: Panel) -> list[Entry]:
    """Entries of every series: targets and past-only covariates up to the last observed target, known-future ones
    to the end; one target as (T,), several as (K, T)."""
    period = _period_frequency(panel.freq)
    first, second = len(panel.target), len(panel.target) + len(panel.past_only)
    out = []
    for item, name in enumerate(panel.item_ids):
        rows, history = panel.rows(item).numpy().T, int(panel.history[item])
        entry: Entry = {
            "item_id": name,
            "start": pd.Period(panel.starts[item], freq=period),
            "target": rows[0, :history] if first == 1 else rows[:first, :history],
        }
        if panel.past_only:
            entry["past_feat_dynamic_real"] = rows[first:second, :history]
        if panel.known_future:
            entry["feat_dynamic_real"] = rows[second:]
        if panel.static_real_names:
            entry["feat_static_real"] = panel.reals[item].numpy()
        if panel.vocabulary:
            entry["feat_static_cat"] = panel.categories[item].numpy()
        out.append(entry)
    return out


def _matrix(values: Any) -> np.ndarray:
    """(features, steps); what is absent or empty has no features."""
    block = np.zeros((0, 0)) if values is None else np.atleast_2d(np.asarray(values, dtype=np.float32))
    return block if block.size else np.zeros((0, 0), dtype=np.float32)


def _named(names: Sequence[str] | None, stem: str, count: int) -> tuple[str, ...]:
    return tuple(f"{stem}_{k}" for k in range(count)) if names is None else tuple(names)


def _stamp(start: Any, freq: str | None, where: str) -> tuple[np.datetime64, str | None]:
    """First stamp and, if `start` is a period, the frequency of stamps at the beginning of such periods."""
    if isinstance(start, pd.Period):
        stamp = start.to_timestamp(how="start")
        return stamp.to_datetime64(), _stamp_frequency(start.freqstr, stamp)
    if freq is None:
        raise UserError(f"{where}: start {start!r} tells no frequency; pass freq, for example h.")
    return pd.Timestamp(start).to_datetime64(), None


def _stamp_frequency(period: str, stamp: pd.Timestamp) -> str:
    """A period's frequency as that of its first moments: months M become month starts MS."""
    base = period.partition("-")[0]
    count = base.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
    unit = base[len(count) :]
    if unit == "M":
        return f"{count}MS"
    if unit == "W":
        return f"{count}W-{stamp.strftime('%a').upper()}"
    if unit in ("Q", "Y", "A"):
        return f"{count}{'Q' if unit == 'Q' else 'Y'}S-{stamp.strftime('%b').upper()}"
    return period


def _period_frequency(freq: str) -> str:
    """The frequency of periods that begin (or, for ends of months, end) at a panel's stamps."""
    offset = parse_frequency(freq)
    base, _, anchor = offset.freqstr.partition("-")
    days = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
    months = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
    if base.endswith("W"):
        return f"{base}-{days[days.index(anchor) - 1]}"
    for begin, end, unit in (("MS", "ME", "M"), ("QS", "QE", "Q"), ("YS", "YE", "Y")):
        if base.endswith((begin, end)):
            count = base[:-2]
            if unit == "M":
                return f"{count}M"
            last = anchor if base.endswith(end) else months[months.index(anchor) - 1]
            return f"{count}{unit}-{last}"
    return offset.freqstr
