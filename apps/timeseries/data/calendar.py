"""Time stamps of rows, and calendar features of time stamps.

A feature function takes the stamps of N rows and their pandas frequency and gives a float32 array (N, M);
`windows.WindowDataset` takes any such function. Two are here:

* `marks`: the features of thuml/TimeXer and the Informer line (after gluonts): each field of the date mapped
  linearly to [-0.5, 0.5]. Hourly data: hour/23, weekday/6, (day-1)/30, (dayofyear-1)/365, each minus 0.5.
* `cyclic`: sine and cosine of hour of the day, weekday and day of the year, and a weekend flag. The end of a day
  is next to its beginning here, which the former does not know.
"""

__all__ = ["TimeFeatures", "cyclic", "marks", "stamps"]

from collections.abc import Callable

import numpy as np
import pandas as pd

TimeFeatures = Callable[[pd.DatetimeIndex, str], np.ndarray]


def stamps(starts: np.ndarray, freq: str, series: np.ndarray, rows: np.ndarray) -> pd.DatetimeIndex:
    """Time stamps of rows of series.

    Args:
        starts: datetime64[ns] (S,), first stamp of each series.
        freq: pandas frequency of all series.
        series: (N,) which series each wanted row belongs to.
        rows: (N,) its number there; negative rows lie before the series.

    Raises:
        ValueError: `freq` is not a pandas frequency.
    """
    offset = pd.tseries.frequencies.to_offset(freq)
    if isinstance(offset, pd.offsets.Tick):
        step = np.timedelta64(offset.nanos, "ns")
        return pd.DatetimeIndex(starts[series] + rows * step)
    # Months have no fixed length: one calendar for each different start, then a look-up.
    out = np.empty(len(rows), dtype="datetime64[ns]")
    which, unique = np.unique(starts[series], return_inverse=True)
    for number, start in enumerate(which):
        mine = unique == number
        first, last = int(rows[mine].min()), int(rows[mine].max())
        anchor = pd.Timestamp(start) + first * offset
        table = pd.date_range(anchor, periods=last - first + 1, freq=offset).to_numpy()
        out[mine] = table[rows[mine] - first]
    return pd.DatetimeIndex(out)


def marks(index: pd.DatetimeIndex, freq: str) -> np.ndarray:
    """Calendar fields mapped to [-0.5, 0.5], the release's choice for each frequency.

    Returns:
        float32 (N, M): [second,] [minute,] hour, weekday, day of the month, day of the year for frequencies up to
        hours; weekday, day, day of the year for days; day, week for weeks; month for months; quarters the same;
        for years the year since 1970 in tens (the release has no feature for years).
    """
    offset = pd.tseries.frequencies.to_offset(freq)
    day, year_day = (index.day - 1) / 30, (index.dayofyear - 1) / 365
    if isinstance(offset, pd.offsets.Tick) and offset.nanos < 86_400_000_000_000:
        fields = [index.hour / 23, index.weekday / 6, day, year_day]
        if offset.nanos % 3_600_000_000_000:
            fields.insert(0, index.minute / 59)
        if offset.nanos % 60_000_000_000:
            fields.insert(0, index.second / 59)
    elif isinstance(offset, pd.offsets.Week) or freq == "7D":
        fields = [day, (index.isocalendar().week.to_numpy(dtype=np.float64) - 1) / 52]
    elif isinstance(offset, pd.offsets.Tick | pd.offsets.BusinessDay):
        fields = [index.weekday / 6, day, year_day]
    elif isinstance(offset, pd.offsets.YearBegin | pd.offsets.YearEnd):
        fields = [(index.year - 1970) / 10 + 0.5]
    else:
        fields = [(index.month - 1) / 11]
    return np.stack([np.asarray(f, dtype=np.float64) - 0.5 for f in fields], axis=1).astype(np.float32)


def cyclic(index: pd.DatetimeIndex, freq: str) -> np.ndarray:
    """Sine and cosine of the hour, the weekday and the day of the year, and a weekend flag, for any frequency.

    The hour counts minutes and seconds, the weekday and the day of the year count hours, so nothing jumps.

    Returns:
        float32 (N, 7): sin and cos of the day's, the week's and the year's phase; 1 on Saturday and Sunday.
    """
    del freq
    day = (np.asarray(index.hour) + np.asarray(index.minute) / 60 + np.asarray(index.second) / 3600) / 24
    week = (np.asarray(index.weekday) + day) / 7
    year = (np.asarray(index.dayofyear) - 1 + day) / 365.25
    waves = [wave(2 * np.pi * phase) for phase in (day, week, year) for wave in (np.sin, np.cos)]
    return np.stack([*waves, np.asarray(index.weekday) >= 5], axis=1).astype(np.float32)
