"""Strict numbers: what is not a finite number or empty ends in a sentence that names row, column and value."""

__all__ = ["numbers"]

import re

import numpy as np
import pandas as pd

from core.errors import UserError

from .columns import Where

LARGEST = float(np.finfo(np.float32).max)


def numbers(column: pd.Series, name: str, where: Where, decimal: str = ".") -> np.ndarray:
    """A column as float64, NaN where it is empty; True and False count as 1 and 0.

    Raises:
        UserError: text, a thousands separator, the other decimal sign, infinity, a date, a number beyond 3.4e38, or
            numbers so large beside their differences that single precision loses them.
    """
    if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
        raise UserError(f"{where[0]} column {name}: is {column.iloc[0]}, a time and not a number.")
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        values = _parse(column, name, where, decimal)
    bad = np.flatnonzero(np.isinf(values))
    if bad.size:
        raise UserError(f"{where[bad[0]]} column {name}: is infinite; write a number, or leave it empty if missing.")
    bad = np.flatnonzero(np.abs(values) > LARGEST)
    if bad.size:
        raise UserError(
            f"{where[bad[0]]} column {name}: {values[bad[0]]:.6g} is too large for single precision (3.4e38); "
            "use larger units, or leave the column out."
        )
    _check_precision(values, name, where)
    return values


def _parse(column: pd.Series, name: str, where: Where, decimal: str) -> np.ndarray:
    given = column.notna().to_numpy()
    if pd.api.types.infer_dtype(column, skipna=True) in ("boolean", "decimal", "empty"):
        return column.astype(object).where(given, np.nan).astype(np.float64).to_numpy()
    text = column.astype(object).map(lambda value: str(value).strip(), na_action="ignore")
    given &= (text != "").to_numpy()
    plain = text
    if decimal == ",":
        # A dot would be a thousands separator here; it must not turn 1.234 into 1.234.
        plain = text.where(~text.str.contains(".", regex=False, na=False), "?").str.replace(",", ".", regex=False)
    # Only what a table's number looks like: Python's 1_000 or 0x10 and the like are text.
    shape = plain.str.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan)", flags=re.IGNORECASE)
    bad = np.flatnonzero(given & ~shape.eq(True).to_numpy(dtype=bool))
    if bad.size:
        value = text.iloc[bad[0]]
        raise UserError(f"{where[bad[0]]} column {name}: {_shown(value)} {_remedy(value, decimal)}")
    values = np.full(len(column), np.nan)
    values[given] = [float(value) for value in plain[given]]
    return values


def _shown(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:37] + "...")


def _remedy(value: str, decimal: str) -> str:
    if re.fullmatch(r"[+-]?\d{1,3},\d{3}", value) and decimal == ".":
        return "has a thousands separator or a decimal comma; write 1234.5, or pass --data.decimal , for commas."
    if re.fullmatch(r"[+-]?\d{1,3}([.,' \u00a0\u202f]\d{3})+([.,]\d+)?", value):
        return "has a thousands separator; write numbers without."
    if re.fullmatch(r"[+-]?\d*,\d+([eE][+-]?\d+)?", value) and decimal == ".":
        return "has a decimal comma; pass --data.decimal ,."
    if decimal == "," and "." in value:
        return "has a dot, but the decimal sign is ','; write numbers without thousands separators."
    return "is not a number; write a number, or leave it empty if missing."


def _check_precision(values: np.ndarray, name: str, where: Where) -> None:
    known = values[~np.isnan(values)]
    if not known.size or known.min() == known.max():
        return
    middle, deviation = abs(float(known.mean())), float(known.std())
    # Half a unit in the last place of float32 against the spread of the column.
    if middle * 2.0**-24 > 1e-3 * deviation:
        raise UserError(
            f"{where[0]} column {name}: its values lie around {known.mean():.6g} but differ by only {deviation:.3g}, "
            "too little for single precision; subtract a constant from the column."
        )
