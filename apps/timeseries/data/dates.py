"""Time stamps from text, read one way for the whole column or not at all.

The first stamp decides the notation: ISO (2013-10-27 02:00, with or without seconds, T, zone), another order with
the year first (2013/1/1 0:00), or with the year last. There 27.10.2013 is day first; with slashes or dashes the
column itself must decide (a 27 can only be a day), otherwise `dayfirst` has to: nothing is guessed.

Zones: a column with one constant offset keeps its wall time as written and the offset is dropped. Where the offset
changes (daylight saving) the wall time jumps, so the zone to convert to has to be named: "UTC" has no jump,
"Europe/Berlin" keeps local hours, with one hour missing and one twice a year (`gaps`, `duplicates`).
"""

__all__ = ["time_stamps"]

import re
import warnings

import numpy as np
import pandas as pd

from core.errors import UserError

from .columns import Where, distinct

ZONE = r"(.*:\d{2}(?:\.\d+)?)\s*(Z|[+-]\d{2}(?::?\d{2})?)"
ADVICE = "write all stamps like 2013-10-27 02:00"


def time_stamps(
    column: pd.Series, name: str, where: Where, dayfirst: bool | None = None, timezone: str | None = None
) -> np.ndarray:
    """A column as datetime64[ns] without zone.

    Args:
        column: text or pandas time stamps.
        name, where: for messages.
        dayfirst: whether 03/04/2013 is the 3rd of April; None refuses to guess.
        timezone: zone whose wall time is wanted, for stamps with changing offsets.

    Raises:
        UserError: empty, unparsable, mixed or ambiguous stamps, a changing offset without `timezone`.
    """
    missing = np.flatnonzero(column.isna().to_numpy())
    if missing.size:
        raise UserError(f"{where[missing[0]]} column {name}: the time stamp is empty; remove the row or fill it.")
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        local = _nanoseconds(column.dt.tz_localize(None), name, where)
        universal = column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(dtype="datetime64[ns]")
        return _wall_time(local, universal, name, where, timezone)
    if pd.api.types.is_datetime64_dtype(column):
        _no_zone(timezone, name, where)
        return _nanoseconds(column, name, where)
    codes, unique = distinct(column)
    texts = pd.Series(unique, dtype=object)
    rows = np.full(len(texts), len(codes))
    np.minimum.at(rows, codes, np.arange(len(codes)))
    first = texts.iloc[0]
    if re.fullmatch(ZONE, first):
        parts = texts.str.extract(f"^{ZONE}$")
        stray = np.flatnonzero(parts[1].isna().to_numpy())
        if stray.size:
            k = int(stray[0])
            raise UserError(
                f"{where[rows[k]]} column {name}: {texts.iloc[k]!r} has no time zone but {first!r} has; "
                "give all stamps one or none."
            )
        local = _parse(parts[0].str.strip(), rows, name, where, dayfirst)
        universal = local - _offsets(parts[1])
        return _wall_time(local[codes], universal[codes], name, where, timezone)
    stamps = _parse(texts, rows, name, where, dayfirst)
    _no_zone(timezone, name, where)
    return stamps[codes]


def _parse(texts: pd.Series, rows: np.ndarray, name: str, where: Where, dayfirst: bool | None) -> np.ndarray:
    first = texts.iloc[0]
    if re.match(r"\d{4}-\d{2}(-\d{2}|$)", first):
        return _checked(_attempt(texts, "ISO8601"), texts, rows, name, where)
    if re.fullmatch(r"[12]\d{3}", first):
        return _checked(_attempt(texts, "%Y"), texts, rows, name, where)
    if re.fullmatch(r"[12]\d{7}", first):
        return _checked(_attempt(texts, "%Y%m%d"), texts, rows, name, where)
    shape = re.fullmatch(r"(\d+)([./-])(\d+)\2(\d+)(.*)", first)
    if not shape or max(len(shape[1]), len(shape[4])) != 4:
        raise UserError(f"{where[rows[0]]} column {name}: {first!r} is not a date this can read; {ADVICE}.")
    sign, time = shape[2], _time_format(shape[5])
    if len(shape[1]) == 4:
        return _checked(_attempt(texts, f"%Y{sign}%m{sign}%d{time}"), texts, rows, name, where)
    day, month = f"%d{sign}%m{sign}%Y{time}", f"%m{sign}%d{sign}%Y{time}"
    if dayfirst is not None or sign == ".":
        stamps = _attempt(texts, month if dayfirst is False else day)
        return _checked(stamps, texts, rows, name, where)
    by_day, by_month = _attempt(texts, day), _attempt(texts, month)
    if not (by_day.isna().any() or by_month.isna().any()):
        raise UserError(
            f"{where[rows[0]]} column {name}: {first!r} can be day or month first, and so can all others; "
            "pass --data.dayfirst true or false."
        )
    likelier = by_day if by_day.isna().sum() <= by_month.isna().sum() else by_month
    return _checked(likelier, texts, rows, name, where)


def _attempt(texts: pd.Series, form: str) -> pd.Series:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # about mixed zones, which are refused below
            stamps = pd.to_datetime(texts, format=form, errors="coerce")
        if pd.api.types.is_datetime64_dtype(stamps):
            return stamps
    except (ValueError, TypeError, OverflowError):
        pass
    # Some text names a zone though the first does not: those texts are the ones to complain about.
    return pd.to_datetime(texts.where(~texts.str.fullmatch(ZONE)), format=form, errors="coerce")


def _checked(stamps: pd.Series, texts: pd.Series, rows: np.ndarray, name: str, where: Where) -> np.ndarray:
    bad = np.flatnonzero(stamps.isna().to_numpy())
    if bad.size:
        k = int(bad[0])
        text = texts.iloc[k] if len(texts.iloc[k]) <= 40 else texts.iloc[k][:37] + "..."
        same = "" if k == 0 else f" written like the first, {texts.iloc[0]!r}"
        raise UserError(f"{where[rows[k]]} column {name}: {text!r} is not a date{same}; {ADVICE}.")
    return _nanoseconds(stamps, name, where, rows)


def _nanoseconds(stamps: pd.Series, name: str, where: Where, rows: np.ndarray | None = None) -> np.ndarray:
    """datetime64[ns], whose range ends in 2262; room is left for the calendar of look-backs and horizons."""
    year = stamps.dt.year.to_numpy()
    bad = np.flatnonzero((year < 1700) | (year > 2200))
    if bad.size:
        k = int(bad[0])
        row = k if rows is None else rows[k]
        raise UserError(
            f"{where[row]} column {name}: the year {year[k]:.0f} is outside 1700 to 2200; correct or remove the row."
        )
    return stamps.to_numpy(dtype="datetime64[ns]")


def _time_format(text: str) -> str:
    """strptime format of what follows the date."""
    clock = text.lstrip("T \t")
    gap = text[: len(text) - len(clock)]
    if not clock:
        return ""
    hour = "%I" if re.search(r"[AaPp][Mm]$", clock) else "%H"
    seconds = ":%S" if clock.count(":") > 1 else ""
    fraction = ".%f" if "." in clock else ""
    half = ("" if re.search(r"\d[AaPp]", clock) else " ") + "%p" if hour == "%I" else ""
    return f"{gap}{hour}:%M{seconds}{fraction}{half}"


def _offsets(zones: pd.Series) -> np.ndarray:
    """Offsets from UTC as timedelta64[ns]."""
    codes, unique = pd.factorize(zones)
    out = []
    for zone in unique:
        digits = zone.replace(":", "").replace("Z", "+00").ljust(5, "0")
        minutes = int(digits[1:3]) * 60 + int(digits[3:5])
        out.append(np.timedelta64(-minutes if digits[0] == "-" else minutes, "m"))
    return np.array(out, dtype="timedelta64[ns]")[codes]


def _wall_time(local: np.ndarray, universal: np.ndarray, name: str, where: Where, timezone: str | None) -> np.ndarray:
    if timezone is not None:
        try:
            zoned = pd.DatetimeIndex(universal).tz_localize("UTC").tz_convert(timezone)
        except Exception as error:  # zoneinfo, pytz and dateutil each raise their own
            raise UserError(
                f"--data.timezone {timezone!r}: is no known time zone; use UTC or a name like Europe/Berlin."
            ) from error
        return zoned.tz_localize(None).to_numpy(dtype="datetime64[ns]")
    offset = local - universal
    change = np.flatnonzero(offset != offset[0])
    if change.size:
        hours = [float(value / np.timedelta64(1, "h")) for value in (offset[0], offset[change[0]])]
        raise UserError(
            f"{where[change[0]]} column {name}: the time zone changes from UTC{hours[0]:+g} h to UTC{hours[1]:+g} h; "
            "pass --data.timezone UTC, or a name like Europe/Berlin for local hours."
        )
    return local


def _no_zone(timezone: str | None, name: str, where: Where) -> None:
    if timezone is not None:
        raise UserError(
            f"{where[0]} column {name}: --data.timezone {timezone} has no effect, the stamps have no zone; omit it."
        )
