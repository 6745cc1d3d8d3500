"""Parsed rows of one or two files, and the attributes of their series."""

__all__ = ["Rows", "static_attributes"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import UserError, nearest

from .columns import Columns, Where


@dataclass
class Rows:
    """Parsed rows of one or two files, not yet in order.

    `series` numbers `item_ids`; `values` (N, C) has the columns of `Columns.numeric`; `static_real` (N, R);
    `static_cat` a code for each row and the texts, by column name.
    """

    where: Where
    series: np.ndarray
    stamps: np.ndarray
    item_ids: list[str]
    values: np.ndarray
    static_real: np.ndarray
    static_cat: dict[str, tuple[np.ndarray, list[str]]]
    ahead: int = 0  # how many rows at the end come from a future table

    def first_rows(self) -> np.ndarray:
        """First row of each series, in file order."""
        first = np.zeros(len(self.item_ids), dtype=np.int64)
        first[self.series[::-1]] = np.arange(len(self.series))[::-1]
        return first

    def taken(self, keep: np.ndarray) -> "Rows":
        """The rows of a wide table's series (no statics)."""
        where = Where(self.where.files[0], self.where.rows[keep])
        return Rows(
            where, self.series[keep], self.stamps[keep], self.item_ids, self.values[keep], self.static_real[keep], {}
        )

    def extended(self, future: "Rows", column: int) -> "Rows":
        """These rows and, behind them, those of a future table whose values go to the columns from `column`.

        Raises:
            UserError: an unknown series there, or a series without rows there.
        """
        number = {name: k for k, name in enumerate(self.item_ids)}
        for k, name in enumerate(future.item_ids):
            if name not in number:
                row = int(np.flatnonzero(future.series == k)[0])
                raise UserError(
                    f"{future.where[row]}: series {name!r} has no past in {self.where.files[0]}; remove its rows or "
                    f"add its past.{nearest(name, self.item_ids)}"
                )
        there = set(future.item_ids)
        absent = [name for name in self.item_ids if name not in there]
        if absent:
            raise UserError(
                f"{future.where.files[0]}: has no rows for series {absent[0]!r}; add its known-future values."
            )
        end = np.full(len(self.item_ids), self.stamps.min())
        np.maximum.at(end, self.series, self.stamps)
        series = np.array([number[name] for name in future.item_ids])[future.series]
        later = future.stamps > end[series]
        count = int(later.sum())
        values = np.full((count, self.values.shape[1]), np.nan)
        values[:, column:] = future.values[later]
        repeated = self.first_rows()[series[later]]
        return Rows(
            self.where.append(Where(future.where.files[0], future.where.rows[later])),
            np.concatenate([self.series, series[later]]),
            np.concatenate([self.stamps, future.stamps[later]]),
            self.item_ids,
            np.concatenate([self.values, values]),
            np.concatenate([self.static_real, self.static_real[repeated]]),
            {name: (np.concatenate([code, code[repeated]]), texts) for name, (code, texts) in self.static_cat.items()},
            ahead=count,
        )


def static_attributes(
    rows: Rows, columns: Columns, vocabulary: Mapping[str, Sequence[str]] | None
) -> tuple[np.ndarray, np.ndarray, dict[str, tuple[str, ...]]]:
    """Attributes of each series, checked to be constant: (S, R), (S, Q) and the categories of each column."""
    count = len(rows.item_ids)
    first = rows.first_rows()

    def constant(values: np.ndarray, name: str, show: Callable) -> np.ndarray:
        bad = np.flatnonzero(values != values[first][rows.series])
        if bad.size:
            row = int(bad[0])
            raise UserError(
                f"{rows.where[row]} column {name}: changes within series {rows.item_ids[rows.series[row]]!r} from "
                f"{show(values[first[rows.series[row]]])} to {show(values[row])}; a static attribute must not."
            )
        return values[first]

    real = np.zeros((count, len(columns.static_real)), dtype=np.float32)
    for k, name in enumerate(columns.static_real):
        empty = np.flatnonzero(np.isnan(rows.static_real[:, k]))
        if empty.size:
            raise UserError(f"{rows.where[empty[0]]} column {name}: is empty; give every row a value.")
        real[:, k] = constant(rows.static_real[:, k], name, repr)
    codes = np.zeros((count, len(columns.static_cat)), dtype=np.int64)
    categories: dict[str, tuple[str, ...]] = {}
    for k, name in enumerate(columns.static_cat):
        code, texts = rows.static_cat[name]
        code = constant(code, name, lambda value, texts=texts: repr(texts[value]))
        if vocabulary is not None and name not in vocabulary:
            raise UserError(f"column {name}: the model knows no categories for it; leave it out of static_cat.")
        known = tuple(sorted(texts)) if vocabulary is None else tuple(vocabulary[name])
        for series, value in enumerate(code):
            if texts[value] not in known:
                shown = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
                raise UserError(
                    f"{rows.where[first[series]]} column {name}: category {texts[value]!r} was not in the training "
                    f"data, which knows {shown}; correct it or train with it.{nearest(texts[value], known)}"
                )
        number = {text: position for position, text in enumerate(known)}
        codes[:, k] = [number[texts[value]] for value in code]
        categories[name] = known
    return real, codes, categories
