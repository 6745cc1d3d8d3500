"""Lists of audio files (.csv): every error names the row, counted with the header as row 1."""

__all__ = ["Located", "Row", "number", "read_rows"]

import csv
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError, nearest


@dataclass(frozen=True)
class Row:
    """One line of a list; `str(row)` is the beginning of an error, `row[column]` refuses a missing value."""

    path: Path
    number: int
    fields: dict[str, str]

    def __str__(self) -> str:
        return f"{self.path.name} row {self.number}"

    def __getitem__(self, column: str) -> str:
        value = self.fields.get(column)
        if value:
            return value
        if column in self.fields:
            raise UserError(f"{self}: column {column} is empty; fill it in.")
        raise UserError(f"{self.path}: has no column {column}.{nearest(column, self.fields)}")


def read_rows(path: str | Path) -> list[Row]:
    """All rows of a list.

    Raises:
        UserError: it cannot be read, or has no rows.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            # A row may have fewer or more fields than the header; those without a name are left out.
            rows = [
                Row(path, reader.line_num, {key: (value or "").strip() for key, value in line.items() if key})
                for line in reader
            ]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()}); name a .csv.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is not a list of comma-separated values ({error}); save it as .csv.") from error
    if not rows:
        raise UserError(f"{path}: lists nothing; it needs a header and a row for each file.")
    return rows


def number(row: Row, column: str) -> int:
    """A whole number of at least 0.

    Raises:
        UserError: it is none.
    """
    text = row[column]
    if not text.isdecimal():
        raise UserError(f"{row}: {column} is {text!r}, not a number of samples.")
    return int(text)


class Located:
    """Finds the files a list names: as written, relative to the list, or, when an absolute path comes from another
    machine, by its last folders around the list. How the first was found is tried first for the others.

    Args:
        path: of the list.
    """

    def __init__(self, path: str | Path):
        folder = Path(path).absolute().parent
        self.around = [folder, *list(folder.parents)[:4]]
        self._known: tuple[Path, int] | None = None

    def __call__(self, row: Row, column: str) -> Path:
        """The file in this column.

        Raises:
            UserError: it is nowhere.
        """
        named = Path(row[column])
        parts = named.parts[1:] if named.is_absolute() else named.parts
        if self._known is not None:
            root, dropped = self._known
            if (path := root.joinpath(*parts[dropped:])).is_file():
                return path
        if named.is_absolute() and named.is_file():
            return named
        # The more of the written path is kept, the surer; the bare name alone would find s1 where s2 is meant.
        for dropped in range(max(1, len(parts) - 1)):
            for root in self.around:
                if (path := root.joinpath(*parts[dropped:])).is_file():
                    self._known = root, dropped
                    return path
        raise UserError(f"{row}: {column} names {named}, which is not there; mend the path or remove the row.")
