"""Tables from files: `.csv`, `.csv.gz`, `.parquet`; what cannot be read ends in one sentence.

CSV: UTF-8, comma, semicolon or tab (whichever the header has most of), names without surrounding spaces. Blank
lines are skipped but counted, so row numbers in messages are those of a text editor. A row with more fields than
the header is refused: it is usually an unquoted thousands separator or decimal comma, and shifts all columns.
"""

__all__ = ["read_frame", "table_header"]

import gzip
import io
import re
import warnings
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO

import pandas as pd

from core.errors import UserError

from .columns import Where

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "NULL", "null", "None")


def table_header(path: str | Path) -> list[str]:
    """Names of the columns, without surrounding spaces.

    Raises:
        UserError: not a readable table.
    """
    path = Path(path)
    kind = _kind(path)
    if kind == "parquet":
        import pyarrow.parquet as parquet

        with _readable(path):
            return [name.strip() for name in parquet.read_schema(path).names]
    with _readable(path), _open(path) as file:
        return _split_header(path, file.readline())[0]


def read_frame(path: str | Path, text: Collection[str], decimal: str = ".") -> tuple[pd.DataFrame, Where]:
    """The whole table and the row number of each line.

    Args:
        path: the file.
        text: columns kept as text (time stamps, series names, categories), not parsed as numbers.
        decimal: decimal sign of a CSV file, "." or ",".

    Raises:
        UserError: not a readable table, or one without rows.
    """
    path = Path(path)
    if decimal not in (".", ","):
        raise UserError(f"--data.decimal {decimal!r}: must be '.' or ','.")
    frame = _parquet(path) if _kind(path) == "parquet" else _csv(path, text, decimal)
    if frame.empty:
        raise UserError(f"{path.name}: has a header but no rows.")
    # The index counts data rows from 0; a CSV file's first data row is its row 2.
    first = 1 if _kind(path) == "parquet" else 2
    return frame.reset_index(drop=True), Where(path.name, frame.index.to_numpy() + first)


def _kind(path: Path) -> str:
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a .csv, .csv.gz or .parquet file.")
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    name = path.name.lower()
    for kind in ("csv", "csv.gz", "parquet"):
        if name.endswith("." + kind):
            return kind
    raise UserError(f"{path.name}: unknown kind of table; use .csv, .csv.gz or .parquet.")


def _open(path: Path) -> IO[str]:
    opener = gzip.open if _kind(path) == "csv.gz" else open
    return opener(path, "rt", encoding="utf-8-sig", newline="")


def _split_header(path: Path, line: str) -> tuple[list[str], str]:
    line = line.rstrip("\r\n")
    if not line.strip():
        raise UserError(f"{path.name} row 1: is empty; the first row must name the columns.")
    separator = max(",;\t", key=line.count)
    names = pd.read_csv(io.StringIO(line), sep=separator, header=None, dtype=str, keep_default_na=False).iloc[0]
    return [str(name).strip() for name in names], separator


def _csv(path: Path, text: Collection[str], decimal: str) -> pd.DataFrame:
    with _readable(path):
        with _open(path) as file:
            header, separator = _split_header(path, file.readline())
        # Numbered names, because the header may repeat one that nobody uses.
        numbered = [f"{i}" for i in range(len(header))]
        textual = {i: name in text for i, name in zip(numbered, header, strict=True)}
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                path,
                sep=separator,
                header=0,
                names=numbered,
                index_col=False,
                dtype={name: str for name, is_text in textual.items() if is_text},
                keep_default_na=False,
                na_values={name: [""] if is_text else list(MISSING) for name, is_text in textual.items()},
                skipinitialspace=True,
                skip_blank_lines=False,
                decimal=decimal,
                encoding="utf-8-sig",
                low_memory=False,
            )
    frame.columns = pd.Index(header)
    return frame[frame.notna().any(axis=1)]


def _parquet(path: Path) -> pd.DataFrame:
    import pyarrow.parquet as parquet

    with _readable(path):
        # Without pandas' notes an index column is a column like the others.
        frame = parquet.read_table(path).to_pandas(ignore_metadata=True)
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    return frame


class _readable:
    """Turns what libraries raise about a broken file into one sentence."""

    def __init__(self, path: Path) -> None:
        self.name = path.name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> None:
        if error is None or isinstance(error, UserError):
            return
        message = " ".join(str(error).split())
        fields = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", message)
        if fields:
            expected, row, saw = fields.groups()
            raise UserError(
                f"{self.name} row {row}: has {saw} fields, the header has {expected}; quote numbers with a comma, or "
                "write them without thousands separators."
            ) from error
        quote = re.search(r"EOF inside string starting at row (\d+)", message)
        if quote:
            raise UserError(f"{self.name} row {int(quote[1]) + 1}: opens a quote that is never closed.") from error
        if isinstance(error, pd.errors.ParserWarning):
            raise UserError(
                f"{self.name} row 2: has more fields than the header; give every column a name and quote numbers "
                "with a comma."
            ) from error
        if isinstance(error, UnicodeError):
            raise UserError(f"{self.name}: is not UTF-8 text ({message}); save it as UTF-8.") from error
        if isinstance(error, EOFError | gzip.BadGzipFile | zlib.error):
            raise UserError(f"{self.name}: is not a whole gzip file ({message}); copy it again.") from error
        if isinstance(error, pd.errors.ParserError | pd.errors.EmptyDataError | ValueError | OSError | OverflowError):
            raise UserError(f"{self.name}: cannot be read as a table ({message}).") from error
