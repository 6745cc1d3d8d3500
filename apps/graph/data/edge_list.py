"""Your own graph: a table of edges, features, labels, and names of the nodes if they are not numbered.

edges     .csv (or .csv.gz) with columns source and target, and weight and time if there are any; without a header,
          the first two columns
features  .npy (N, F), .npz as scipy.sparse.save_npz writes it, or .csv of numbers with a header; a column id names
          the node of a row
labels    .npy, or .csv with a column label (names or numbers, empty where unknown), a column id if rows are not in
          the order of the nodes, and a column split of train, validation and test if you have one
nodes     .csv with a column id: the names that edges use, in the order of the features; without it they are numbers
          0 .. N - 1
"""

__all__ = ["EdgeList"]

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse import csr_array

from apps.graph.metrics import accuracy
from core.errors import UserError, nearest

from .graph import Graph
from .items import Features, NodeSet, Source, Split
from .splits import NAMES
from .tables import read_numbers, read_table


class EdgeList(Source):
    """A graph of your own files.

    Args:
        edges: table of edges.
        features: a row of numbers for each node; without, its degree and a one.
        labels: of the nodes; without, none is known, which is enough to predict.
        nodes: names of the nodes.
        directed: an edge is not its own other direction.
    """

    def __init__(
        self,
        edges: str,
        features: str | None = None,
        labels: str | None = None,
        nodes: str | None = None,
        directed: bool = False,
    ):
        self.edges, self.directed, self.label = Path(edges), directed, Path(edges).stem
        self.features, self.labels, self.nodes = (None if p is None else Path(p) for p in (features, labels, nodes))

    def load(self) -> NodeSet:
        names = None if self.nodes is None else self._names(self.nodes)
        positions = None if names is None else {name: n for n, name in enumerate(names)}
        ends, weights, times = self._edges(names is not None)
        features = None if self.features is None else _features(self.features, positions)
        pairs = (
            np.asarray([[_position(e, positions, self.edges) for e in column] for column in ends], np.int64)
            if (positions is not None)
            else ends
        )
        count = (
            len(names)
            if names is not None
            else features.shape[0]
            if features is not None
            else int(pairs.max(initial=-1)) + 1
        )
        try:
            graph = Graph.of(pairs, count, weights, times, undirected=not self.directed)
        except (IndexError, ValueError) as error:
            raise UserError(f"{self.edges}: {error} Numbers of nodes are rows of the features.") from None
        if features is None:
            features = np.stack([np.log1p(graph.degrees), np.ones(count)], 1).astype(np.float32)
        labels, classes, splits = np.full(count, -1, np.int64), ("unknown",), []
        if self.labels is not None:
            labels, classes, splits = _labels(self.labels, count, positions)
        return NodeSet(graph, features, labels, splits, classes, accuracy, names)

    def _edges(self, named: bool) -> tuple[NDArray, NDArray | None, NDArray | None]:
        """Ends (2, E), text where nodes have names; weights and times."""
        if not self.edges.is_file():
            raise UserError(f"{self.edges}: not found; name a table of edges.")
        kind: Any = str if named else np.int64
        table = _head(self.edges)
        if not any(name.lstrip("-").isdigit() for name in table) or "source" in table:
            for name in ("source", "target"):
                if name not in table:
                    raise UserError(
                        f"{self.edges}: has no column {name}; columns are {', '.join(table)}.{nearest(name, table)}"
                    )
            numbers = {"source": kind, "target": kind, "weight": np.float32, "time": np.float64}
            frame = read_table(self.edges, numbers)
            weights, times = (frame[n].to_numpy() if n in frame else None for n in ("weight", "time"))
            for name, values in (("weight", weights), ("time", times)):
                if values is not None and (np.isnan(values).any() or (name == "weight" and (values < 0).any())):
                    row = int(np.nonzero(~(values >= 0) if name == "weight" else np.isnan(values))[0][0])
                    raise UserError(f"{self.edges} line {row + 2}: {name} is {values[row]}; correct it.")
            return frame[["source", "target"]].to_numpy().T, weights, times
        made = read_numbers(self.edges, kind)
        if made.shape[1] < 2:
            raise UserError(f"{self.edges}: has one column; an edge has a source and a target.")
        return made[:, :2].T, None, None

    def _names(self, path: Path) -> tuple[str, ...]:
        names = _column(read_table(path), "id", path)
        twice = names[names.duplicated()]
        if len(twice):
            raise UserError(f"{path} line {twice.index[0] + 2}: node {twice.iloc[0]} is listed twice; keep one.")
        return tuple(names)


def _head(path: Path) -> list[str]:
    return (
        [str(name).strip() for name in pd.read_csv(path, nrows=0).columns]
        if path.stat().st_size
        else ["source", "target"]
    )


def _column(table: pd.DataFrame, name: str, path: Path) -> pd.Series:
    if name not in table:
        listed = [str(c) for c in table.columns]
        raise UserError(f"{path}: has no column {name}; columns are {', '.join(listed)}.{nearest(name, listed)}")
    return table[name]


def _position(name: str, positions: dict[str, int], path: Path) -> int:
    if name not in positions:
        raise UserError(f"{path}: names node {name}, which the list of nodes has not.{nearest(str(name), positions)}")
    return positions[name]


def _rows(table: pd.DataFrame, count: int | None, positions: dict[str, int] | None, path: Path) -> NDArray[np.int64]:
    """Node of each row."""
    if "id" not in table:
        rows = np.arange(len(table))
    elif positions is not None:
        rows = np.array([_position(name, positions, path) for name in table["id"]], np.int64)
    else:
        whole = pd.to_numeric(table["id"], errors="coerce")
        bad = np.nonzero(~(whole >= 0) | (whole != np.round(whole)))[0]
        if len(bad):
            raise UserError(
                f"{path} line {bad[0] + 2}: id {table['id'].iloc[bad[0]]!r} is no number of a node; list the names of "
                "the nodes in a table and name it with nodes."
            )
        rows = whole.to_numpy(np.int64)
    count = len(positions) if positions is not None else count
    bad = np.nonzero(rows >= count)[0] if count is not None else ()
    if len(bad):
        raise UserError(f"{path} line {bad[0] + 2}: is of node {rows[bad[0]]}, there are {count} nodes.")
    if len(np.unique(rows)) < len(rows):
        order = np.sort(rows)
        raise UserError(f"{path}: node {order[1:][order[1:] == order[:-1]][0]} has two rows; keep one.")
    return rows


def _features(path: Path, positions: dict[str, int] | None) -> Features:
    if not path.is_file():
        raise UserError(f"{path}: not found; name features in .npy, .npz or .csv.")
    try:
        if path.suffix == ".npy":
            return _floats(np.load(path, mmap_mode="r", allow_pickle=False))
        if path.suffix == ".npz":
            return csr_array(scipy.sparse.load_npz(path)).astype(np.float32)
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise UserError(f"{path}: is broken or another file ({str(error)[:120]}); write it again.") from None
    table = read_table(path, dict.fromkeys(_head(path), np.float32) | {"id": str})
    rows = _rows(table, None, positions, path)
    values = table.drop(columns="id", errors="ignore").to_numpy(np.float32)
    count = len(positions) if positions is not None else int(rows.max(initial=-1)) + 1
    if len(rows) != count:
        missing = np.setdiff1d(np.arange(count), rows)[0]
        raise UserError(f"{path}: has {len(rows)} rows for {count} nodes; node {missing} has none.")
    made = np.empty_like(values)
    made[rows] = values
    return made


def _floats(values: NDArray) -> NDArray:
    return values if values.dtype in (np.float16, np.float32) else np.asarray(values, np.float32)


def _labels(path: Path, count: int, positions: dict[str, int] | None) -> tuple[NDArray, tuple[str, ...], list[Split]]:
    if path.suffix == ".npy":
        try:
            labels = np.load(path, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise UserError(f"{path}: is broken or another file ({str(error)[:120]}); write it again.") from None
        top = np.nanmax(labels) if labels.size else -1
        return labels, tuple(str(n) for n in range(max(int(top), 0) + 1)), []
    table = read_table(path)
    rows = _rows(table, count, positions, path)
    if "id" not in table and len(rows) != count:
        raise UserError(f"{path}: has {len(rows)} labels for {count} nodes; name the node of each in a column id.")
    names = _column(table, "label", path).astype(str)
    known = ~names.isin(["", "-1"])
    distinct = sorted(
        names[known].unique(), key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name)
    )
    if distinct and all(name.isdigit() for name in distinct):
        distinct = [str(n) for n in range(int(distinct[-1]) + 1)]
    labels = np.full(count, -1, np.int64)
    numbers = {name: n for n, name in enumerate(distinct)}
    labels[rows[known.to_numpy()]] = [numbers[name] for name in names[known]]
    if "split" not in table:
        return labels, tuple(distinct), []
    odd = np.nonzero(~table["split"].isin([*NAMES, "valid", "val", ""]))[0]
    if len(odd):
        raise UserError(
            f"{path} line {odd[0] + 2}: split {table['split'].iloc[odd[0]]!r} is none of {', '.join(NAMES)}."
        )
    part = table["split"].replace({"valid": "validation", "val": "validation"})
    return labels, tuple(distinct), [Split(*(np.sort(rows[(part == name).to_numpy()]) for name in NAMES))]
