"""Tables in text: plain numbers quickly, and the line of what is not one."""

__all__ = ["read_numbers", "read_table"]

import gzip
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import UserError


def read_numbers(path: Path, dtype: Any, columns: int | None = None) -> NDArray:
    """A table without a header, (rows, columns); .gz is unpacked.

    Args:
        path: of the file.
        dtype: np.int64 or a float, of which empty fields are NaN.
        columns: how many there must be.

    Raises:
        UserError: the file is not there or broken, or a field is no number; names its line.
    """
    frame = _frame(path, header=None, dtype=dtype)
    if columns is not None and frame.shape[1] != columns:
        raise UserError(f"{path}: has {frame.shape[1]} columns; it must have {columns}.")
    return frame.to_numpy(dtype)


def read_table(path: Path, numbers: dict[str, Any] | None = None) -> pd.DataFrame:
    """A table with a header; columns in `numbers` have these types, others are text.

    Raises:
        UserError: as `read_numbers`.
    """
    head = _frame(path, nrows=0)
    kinds = {name: (numbers or {}).get(name, str) for name in head.columns}
    return _frame(
        path, dtype=kinds, keep_default_na=False, na_values={n: [""] for n, k in kinds.items() if k is not str}
    )


def _frame(path: Path, **options: Any) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"{path}: not found; name a file that is there.")
    try:
        return pd.read_csv(path, skipinitialspace=True, **options)
    except pd.errors.EmptyDataError:
        raise UserError(f"{path}: is empty; it must have a row a line.") from None
    except (ValueError, OSError, EOFError, OverflowError) as error:
        raise UserError(_line(path, options.get("dtype"), options.get("header", 0) is not None, error)) from None


def _line(path: Path, dtype: Any, header: bool, error: Exception) -> str:
    """The first line that has another number of columns or no number where there must be one."""
    try:
        opened = partial(gzip.open, mode="rt") if path.suffix == ".gz" else Path.open
        with opened(path, encoding="utf-8") as lines:
            names: list[str] = []
            width = None
            for number, line in enumerate(lines, 1):
                fields = [field.strip().strip('"') for field in line.rstrip("\n").split(",")]
                if not line.strip():
                    continue
                if width is None:
                    width = len(fields)
                    if header:
                        names = fields
                        continue
                if len(fields) > width:
                    return f"{path} line {number}: has {len(fields)} columns, those before {width}; correct it."
                for place, field in enumerate(fields):
                    kind = dtype.get(names[place], str) if isinstance(dtype, dict) else dtype
                    if kind in (None, str):
                        continue
                    try:
                        kind(field) if kind is np.int64 or field else None
                    except (ValueError, OverflowError):
                        what = "whole number" if kind is np.int64 else "number"
                        named = f" ({names[place]})" if names else ""
                        return f"{path} line {number}: {field!r} in column {place + 1}{named} is no {what}; correct it."
    except (OSError, EOFError, UnicodeDecodeError):
        pass
    return f"{path}: cannot be read as a table ({str(error).strip()[:120]}); copy or export it again."
