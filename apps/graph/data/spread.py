"""Features spread over the graph before training, made once and shared by the batches of all parts.

Kept in memory or in a file, which is written some columns at a time: what is needed beside it is three times these
columns of all nodes, so that features larger than memory can be spread.
"""

__all__ = ["spread_features"]

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse

from apps.graph.models.diffusion import Step
from core.errors import UserError

from .graph import Graph
from .items import Features

# Columns that are spread at a time.
COLUMNS = 32
# Rows that are compared to tell whether a file belongs to the features.
ROWS = 1000

_made: "WeakKeyDictionary[Graph, dict]" = WeakKeyDictionary()


def spread_features(
    features: Features, graph: Graph, operators: tuple[tuple[Step, int], ...], path: str | Path | None = None
) -> NDArray[np.float32]:
    """(N, 1 + sum of hops, F): x, then what each operator makes of it in so many steps.

    Args:
        features: (N, F); sparse ones become dense.
        graph: of the same nodes.
        operators: each with its number of hops (`apps.graph.models.diffusion`).
        path: a file (.npy) to keep them in, memory-mapped; what the same graph and features (of which some rows are
            compared) have left there is opened. None keeps them in memory.

    Raises:
        UserError: the file holds others.
    """
    kept = _made.setdefault(graph, {})
    key = (operators, None if path is None else str(path))
    if key not in kept or kept[key][0] is not features:
        kept[key] = features, _spread(features, graph, operators, None if path is None else Path(path))
    return kept[key][1]


def _spread(
    features: Features, graph: Graph, operators: tuple[tuple[Step, int], ...], path: Path | None
) -> NDArray[np.float32]:
    shape = graph.nodes, 1 + sum(hops for _, hops in operators), int(features.shape[1])
    if path is None:
        out = np.empty(shape, np.float32)
        _fill(out, features, graph, operators)
        return out
    facts = {
        "shape": list(shape),
        "graph": graph.fingerprint,
        "operators": [[_name(step), hops] for step, hops in operators],
    }
    note = path.with_suffix(".json")
    if path.exists():
        with suppress(OSError, ValueError):
            made = np.load(path, mmap_mode="r", allow_pickle=False)
            rows = np.linspace(0, graph.nodes - 1, min(ROWS, graph.nodes)).astype(np.int64)
            same = np.array_equal(made[rows, 0], _dense(features[rows]))
            if same and json.loads(note.read_text(encoding="utf-8")) == facts:
                return made
        raise UserError(f"{path}: holds features of another graph or operator; name another file or remove it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    file = np.lib.format.open_memmap(beside, "w+", np.float32, shape)
    _fill(file, features, graph, operators)
    file.flush()
    note.write_text(json.dumps(facts) + "\n", encoding="utf-8")
    beside.rename(path)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _fill(out: NDArray, features: Features, graph: Graph, operators: tuple[tuple[Step, int], ...]) -> None:
    columns = features.tocsc() if isinstance(features, csr_array) else features
    for a in range(0, out.shape[2], COLUMNS):
        part = slice(a, min(a + COLUMNS, out.shape[2]))
        x = torch.from_numpy(_dense(columns[:, part]))
        out[:, 0, part] = x.numpy()
        place = 1
        for step, hops in operators:
            y = x
            for _ in range(hops):
                y = step(y, graph.csr)
                out[:, place, part] = y.numpy()
                place += 1


def _dense(x: Features) -> NDArray[np.float32]:
    return np.array(x.toarray() if issparse(x) else x, np.float32, order="C")


def _name(step: Callable) -> str:
    return f"{step.__module__}.{step.__qualname__}"
