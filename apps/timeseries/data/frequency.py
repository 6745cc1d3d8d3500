"""The step of a time axis: inferred from time stamps, and row numbers on the axis it makes."""

__all__ = ["infer_frequency", "parse_frequency", "positions"]

import warnings

import numpy as np
import pandas as pd

from core.errors import UserError

from .columns import Where

DAY = 86_400_000_000_000


def parse_frequency(freq: str) -> pd.DateOffset:
    """A pandas frequency such as "h", "15min", "D", "MS".

    Raises:
        UserError: unknown, outdated ("H") or not positive.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            offset = pd.tseries.frequencies.to_offset(freq)
        except Exception as error:  # ValueError, or the warning about an outdated name
            raise UserError(
                f"--data.freq {freq!r}: is no pandas frequency; use for example min, 15min, h, D, W, MS or YS."
            ) from error
    if offset is None or offset.n < 1:
        raise UserError(f"--data.freq {freq!r}: must be positive; use for example h.")
    return offset


def infer_frequency(series: np.ndarray, stamps: np.ndarray, item_ids: list[str], where: Where, rows: np.ndarray) -> str:
    """The step that most rows have, checked to be the same for all series.

    Args:
        series, stamps: (N,) sorted by series, then stamp, without duplicates.
        item_ids: names of the series.
        where, rows: file row of each of them, for messages.

    Raises:
        UserError: fewer than three rows in every series; series of different frequency.
    """
    counts = np.bincount(series, minlength=len(item_ids))
    if counts.max() < 3:
        raise UserError(
            f"{where[0]}: the frequency cannot be inferred from {counts.max()} rows a series; pass it, for "
            "example --data.freq h."
        )
    same = series[1:] == series[:-1]
    steps = np.diff(stamps).astype(np.int64)[same]
    owner = series[1:][same]
    values, frequent = np.unique(steps, return_counts=True)
    step = int(values[frequent.argmax()])
    # The median step of each series, by one sort: it does not move for a few gaps.
    order = np.lexsort((steps, owner))
    number = np.bincount(owner, minlength=len(item_ids))
    begin = np.concatenate([[0], number.cumsum()[:-1]])
    enough = np.flatnonzero(number >= 2)
    median = steps[order][begin[enough] + (number[enough] - 1) // 2]
    # Months and the like differ in length, but not by more than a fifth.
    other = enough[np.abs(median - step) > (0.2 * step if step >= 28 * DAY else 0)]
    if other.size:
        first = int(other[0])
        typical = int(enough[np.abs(median - step) <= 0.2 * step][0])
        row = int(np.flatnonzero(series == first)[0])
        theirs = pd.Timedelta(int(median[enough == first][0]), "ns")
        raise UserError(
            f"{where[rows[row]]}: series {item_ids[first]!r} has a row every {_span(theirs)}, series "
            f"{item_ids[typical]!r} every {_span(pd.Timedelta(step, 'ns'))}; bring them to one frequency or read them "
            "apart."
        )
    longest = stamps[series == int(counts.argmax())]
    return _name(step, pd.DatetimeIndex(longest))


def positions(
    freq: str, series: np.ndarray, stamps: np.ndarray, item_ids: list[str], where: Where, rows: np.ndarray
) -> np.ndarray:
    """Row number of each stamp on its series' axis, which begins with its first stamp; arguments as above.

    Raises:
        UserError: a stamp between two steps.
    """
    begin = np.flatnonzero(np.diff(series, prepend=-1))
    mine = np.searchsorted(begin, np.arange(len(series)), side="right") - 1
    start = stamps[begin][mine]
    offset = parse_frequency(freq)
    if isinstance(offset, pd.offsets.Tick):
        number, rest = np.divmod((stamps - start).astype(np.int64), offset.nanos)
        off = np.flatnonzero(rest)
    else:
        # Months and business days: place in a list of all days of this frequency, at one hour of the day.
        days = stamps.astype("datetime64[D]")
        axis = pd.date_range(days.min(), days.max(), freq=offset).to_numpy().astype("datetime64[D]")
        found = np.searchsorted(axis, days)
        on = (found < len(axis)) & (stamps - days == stamps[0] - days[0])
        on[on] = axis[found[on]] == days[on]
        off = np.flatnonzero(~on)
        number = found - found[begin][mine]
    if off.size:
        k = int(off[0])
        raise UserError(
            f"{where[rows[k]]}: timestamp {_minute(stamps[k])} of series {item_ids[series[k]]!r} is not on its axis, "
            f"which begins at {_minute(start[k])} with frequency {freq}; correct it, resample, or pass "
            "another --data.freq."
        )
    return number


def _name(step: int, index: pd.DatetimeIndex) -> str:
    if step >= 28 * DAY:
        month = index[0].strftime("%b").upper()
        for name in ("MS", "ME", f"QS-{month}", f"QE-{month}", f"YS-{month}", f"YE-{month}"):
            if pd.tseries.frequencies.to_offset(name).is_on_offset(index[0]):
                axis = pd.date_range(index[0], index[-1], freq=name)
                if len(axis) < 1.5 * len(index) and index.isin(axis).all():
                    return name
    if step == DAY and (index.dayofweek < 5).all() and len(index) > 5:
        return "B"
    if step == 7 * DAY:
        return f"W-{index[0].strftime('%a').upper()}"
    return pd.tseries.frequencies.to_offset(pd.Timedelta(step, "ns")).freqstr


def _span(delta: pd.Timedelta) -> str:
    return pd.tseries.frequencies.to_offset(delta).freqstr


def _minute(stamp: np.datetime64) -> str:
    return f"{pd.Timestamp(stamp):%Y-%m-%d %H:%M}"
