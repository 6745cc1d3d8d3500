"""Cora, CiteSeer and PubMed as Planetoid has them (Yang et al. 2016, "Revisiting semi-supervised learning with graph
embeddings"): pickles of Python 2, `ind.<name>.{x,tx,allx,y,ty,ally,graph}` and `ind.<name>.test.index`.

Rows of allx are nodes 0 .. len(allx) - 1; row k of tx is node test.index[k]. Train is the first len(y) nodes,
validation the next 500, test those of the index. CiteSeer lists 1000 of the 1015 last nodes: the other 15 have no
features and no label (the usual readers give them class 0; none is in a part, so no result differs). The graph is made
undirected, without repeated edges and self loops, as PyG has it.

A pickle can run code: only the classes that these files need are made, and those of scipy and numpy alone.
"""

__all__ = ["Planetoid"]

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from scipy.sparse import csr_array

from apps.graph.metrics import accuracy
from core.errors import UserError, nearest

from .graph import Graph
from .items import NodeSet, Source
from .public import data_folder, must_exist
from .splits import check_split

RECORD = "the folder data of https://github.com/kimiyoung/planetoid"
NAMES = {"cora": "Cora", "citeseer": "CiteSeer", "pubmed": "PubMed"}
VALIDATION = 500


class Planetoid(Source):
    """A citation network with its fixed split of 20 nodes a class.

    Args:
        name: cora, citeseer or pubmed.
        path: folder of the pickles; `graph/planetoid` below $OMNIMIX_DATA or `data` by default.
    """

    def __init__(self, name: str = "cora", path: str | None = None):
        if name not in NAMES:
            raise UserError(f"Planetoid: there is no {name}; choose of {', '.join(NAMES)}.{nearest(name, NAMES)}")
        self.name, self.path, self.label = name, data_folder("planetoid", path), f"{NAMES[name]} (Planetoid)"

    def load(self) -> NodeSet:
        tx, allx, y, ty, ally, links = (
            _unpickled(self.path / f"ind.{self.name}.{part}") for part in ["tx", "allx", "y", "ty", "ally", "graph"]
        )
        index = must_exist(self.path / f"ind.{self.name}.test.index", RECORD)
        try:
            test = np.array(index.read_text(encoding="ascii").split(), np.int64)
        except ValueError as error:
            raise UserError(f"{index}: {error}; it must list ids of nodes.") from None
        count = max(allx.shape[0], int(test.max()) + 1)
        if test.min() < allx.shape[0] or len(test) != tx.shape[0] or len(np.unique(test)) < len(test):
            raise UserError(f"{index}: does not fit the rows of tx and allx; copy the folder again.")
        known = np.concatenate([np.arange(allx.shape[0]), test])
        stacked = scipy.sparse.vstack([allx, tx]).tocoo()
        features = csr_array(
            (stacked.data.astype(np.float32), (known[stacked.row], stacked.col)), shape=(count, allx.shape[1])
        )
        labels = np.full(count, -1, np.int64)
        labels[known] = np.concatenate([ally, ty]).argmax(1)
        edges = [(int(node), int(other)) for node, others in links.items() for other in others]
        graph = Graph.of(np.array(edges, np.int64).reshape(-1, 2).T, count, undirected=True).without_loops()
        ends = len(y), len(y) + VALIDATION
        split = check_split((np.arange(ends[0]), np.arange(*ends), test), count, str(index))
        classes = tuple(str(n) for n in range(ally.shape[1]))
        return NodeSet(graph, features, labels, [split], classes, accuracy)


ALLOWED = {
    ("scipy.sparse.csr", "csr_matrix"): scipy.sparse.csr_matrix,
    ("scipy.sparse._csr", "csr_matrix"): scipy.sparse.csr_matrix,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
}


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "defaultdict"):
            return _Links
        if (module, name) == ("_codecs", "encode"):
            return _bytes
        if (module, name) in (("__builtin__", "list"), ("builtins", "list")):
            return list
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it wants to make {module}.{name}")
        return ALLOWED[module, name]


class _Links(dict):
    """A defaultdict without its default."""

    def __init__(self, default: object = None):
        super().__init__()


def _bytes(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into a pickle of this age."""
    return text.encode("latin1")


def _unpickled(path: Path) -> Any:
    try:
        with must_exist(path, RECORD).open("rb") as file:
            return _Plain(file, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise UserError(f"{path}: is broken or another file ({str(error)[:120]}); copy it again.") from None
