"""Graphs of Shchur et al. 2018, "Pitfalls of graph neural network evaluation": one .npz with the adjacency (adj_*) and
the features (attr_*) in compressed rows, labels, and names of nodes and classes. Features stay sparse.

There is no official split: the data module draws them by seed. Edges are made undirected, as the authors do.
"""

__all__ = ["GnnBenchmark"]

import numpy as np
from scipy.sparse import csr_array

from apps.graph.metrics import accuracy
from core.errors import UserError

from .graph import Graph
from .items import NodeSet, Source
from .public import data_folder, read_arrays

RECORD = "the folder data/npz of https://github.com/shchur/gnn-benchmark"


class GnnBenchmark(Source):
    """One of the sets by the name of its file.

    Args:
        name: cora, citeseer, pubmed, ms_academic_cs, amazon_electronics_photo, ...
        path: folder of the files; `graph/gnn-benchmark` below $OMNIMIX_DATA or `data` by default.
    """

    def __init__(self, name: str = "cora", path: str | None = None):
        self.path, self.label = data_folder("gnn-benchmark", path) / f"{name}.npz", f"{name} (gnn-benchmark)"

    def load(self) -> NodeSet:
        names = tuple(f"{kind}_{part}" for kind in ("adj", "attr") for part in ("data", "indices", "indptr", "shape"))
        stored = read_arrays(self.path, (*names, "labels", "class_names", "node_names"), RECORD)
        try:
            links, features = (
                csr_array(tuple(stored[f"{k}_{p}"] for p in ("data", "indices", "indptr")), shape=stored[f"{k}_shape"])
                for k in ("adj", "attr")
            )
        except (ValueError, TypeError) as error:
            raise UserError(f"{self.path}: {str(error)[:120]}; copy it again.") from None
        pairs = links.tocoo()
        graph = Graph.of(np.stack([pairs.row, pairs.col]), links.shape[0], undirected=True)
        labels = stored["labels"].astype(np.int64)
        classes = tuple(map(str, stored["class_names"]))
        ids = tuple(map(str, stored["node_names"]))
        return NodeSet(graph, features.astype(np.float32), labels, [], classes, accuracy, ids)
