"""What the columns of a table are, and where in a file something stands."""

__all__ = ["Columns", "Where", "distinct"]

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.errors import UserError, nearest

# Names the field uses, in the order they are looked for when none is given.
TIMESTAMPS = ("timestamp", "date", "datetime", "time", "ds")
ITEM_IDS = ("item_id", "unique_id")


@dataclass(frozen=True)
class Columns:
    """Roles of the columns of a table; a column without a role is not used.

    Args:
        target: one name or several (several are forecast together, as channels).
        timestamp: by default the first of timestamp, date, datetime, time, ds that the table has.
        item_id: column that tells the series apart; by default item_id or unique_id if the table has it, otherwise
            the table is one series.
        known_future: covariates known for the steps to be forecast (calendar, weather forecast, plan).
        past_only: covariates known only until the forecast begins.
        static_real, static_cat: attributes of a series, the same in all its rows.

    Raises:
        UserError: no target, or a column in two roles.
    """

    target: str | Sequence[str]
    timestamp: str | None = None
    item_id: str | None = None
    known_future: Sequence[str] = ()
    past_only: Sequence[str] = ()
    static_real: Sequence[str] = ()
    static_cat: Sequence[str] = ()

    def __post_init__(self) -> None:
        for role in ("target", "known_future", "past_only", "static_real", "static_cat"):
            given = getattr(self, role)
            names = (given,) if isinstance(given, str) else tuple(given)
            object.__setattr__(self, role, tuple(name.strip() for name in names))
        for role in ("timestamp", "item_id"):
            if getattr(self, role) is not None:
                object.__setattr__(self, role, getattr(self, role).strip())
        if not self.target:
            raise UserError("target: no column named; name the column to forecast.")
        self._check_roles()

    def _check_roles(self) -> None:
        both = sorted(set(self.known_future) & set(self.past_only))
        if both:
            raise UserError(
                f"column {both[0]}: listed as known_future and as past_only; keep it in known_future if its values are "
                "known for the steps to be forecast, otherwise in past_only."
            )
        for role in ("known_future", "past_only"):
            for name in getattr(self, role):
                if name in self.target:
                    raise UserError(
                        f"column {name}: is the target and also listed in {role}; remove it there, the past of the "
                        "target is an input anyway."
                    )
        roles = [(name, role) for role in self.__dataclass_fields__ for name in self._names(role)]
        twice = [name for name, count in Counter(name for name, _ in roles).items() if count > 1]
        if twice:
            listed = " and ".join(role for name, role in roles if name == twice[0])
            raise UserError(f"column {twice[0]}: listed as {listed}; a column has one role.")

    def _names(self, role: str) -> tuple[str, ...]:
        value = getattr(self, role)
        return () if value is None else (value,) if isinstance(value, str) else tuple(value)

    @property
    def numeric(self) -> tuple[str, ...]:
        """The time-varying columns in a panel's order."""
        return (*self.target, *self.past_only, *self.known_future)

    def resolve(self, header: Sequence[str], file: str) -> "Columns":
        """These roles with `timestamp` and `item_id` found in a table's header.

        Raises:
            UserError: a named column is not in the table, or is there twice.
        """
        timestamp = self.timestamp or next((name for name in TIMESTAMPS if name in header), None)
        item_id = self.item_id or next((name for name in ITEM_IDS if name in header), None)
        shown = ", ".join(header[:12]) + (", ..." if len(header) > 12 else "")
        if timestamp is None:
            raise UserError(
                f"{file}: no time stamp column ({', '.join(TIMESTAMPS)}) among {shown}; name it with --data.timestamp."
            )
        if timestamp in self.numeric or item_id in self.numeric:
            name = timestamp if timestamp in self.numeric else item_id
            raise UserError(f"column {name}: cannot be a covariate or target and tell time or series apart.")
        roles = {role: self._names(role) for role in self.__dataclass_fields__}
        roles |= {"timestamp": (timestamp,), "item_id": (item_id,) if item_id else ()}
        for role, names in roles.items():
            for name in names:
                if name not in header:
                    raise UserError(
                        f"{file}: has no column {name!r} (named in --data.{role}); its columns are {shown}."
                        f"{nearest(name, header)}"
                    )
                if list(header).count(name) > 1:
                    raise UserError(f"{file}: has the column {name!r} twice; rename or remove one.")
        static = {"static_real": self.static_real, "static_cat": self.static_cat}
        return Columns(self.target, timestamp, item_id, self.known_future, self.past_only, **static)


class Where:
    """File and row of each table row, for messages; rows are counted as a text editor does, header included.

    Args:
        file: name of the file.
        rows: its row number for each table row.
    """

    def __init__(self, file: str, rows: np.ndarray) -> None:
        self.files = [file]
        self.bounds = [len(rows)]
        self.rows = rows

    def __getitem__(self, index: int) -> str:
        file = self.files[int(np.searchsorted(self.bounds, index, side="right"))]
        return f"{file} row {self.rows[index]}"

    def append(self, other: "Where") -> "Where":
        """The rows of this file, then those of another."""
        joined = Where("", np.concatenate([self.rows, other.rows]))
        joined.files = self.files + other.files
        joined.bounds = self.bounds + [self.bounds[-1] + bound for bound in other.bounds]
        return joined


def distinct(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """The texts of a column in order of first appearance, without outer spaces, and the number of each row's text.

    Missing values have the number -1. Each text is looked at once and not once a row: a panel repeats its names and
    stamps.
    """
    try:
        given, spelled = pd.factorize(column)
    except TypeError:  # lists and other things that have no hash
        given, spelled = pd.factorize(column.map(str, na_action="ignore"))
    # Texts that differ by outer spaces only become one here.
    same, texts = pd.factorize(pd.Series([str(value).strip() for value in spelled], dtype=object))
    codes = np.where(given < 0, -1, same[given]) if len(same) else np.full(len(given), -1)
    return codes.astype(np.int64), list(texts)
