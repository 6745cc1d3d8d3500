"""Graphs whose neighbours often differ in class (Platonov et al. 2023, "A critical look at the evaluation of GNNs under
heterophily"): minesweeper, tolokers, roman-empire, amazon-ratings, questions, and chameleon and squirrel without their
duplicates.

A file `<name>.npz` holds node_features (N, F), node_labels (N,), edges (E, 2), each once, and masks of ten official
splits. Edges are made undirected, but in files `*_directed`. The sets of two classes are judged by ROC AUC.
"""

__all__ = ["Heterophilous"]

import numpy as np

from apps.graph.metrics import accuracy, roc_auc

from .graph import Graph
from .items import NodeSet, Source
from .public import data_folder, read_arrays
from .splits import from_masks

RECORD = "the folder data of https://github.com/yandex-research/heterophilous-graphs"
ARRAYS = ("node_features", "node_labels", "edges", "train_masks", "val_masks", "test_masks")


class Heterophilous(Source):
    """One of the sets by the name of its file.

    Args:
        name: minesweeper, tolokers, roman_empire, amazon_ratings, questions, chameleon_filtered, ...
        path: folder of the files; `graph/heterophilous` below $OMNIMIX_DATA or `data` by default.
    """

    def __init__(self, name: str = "minesweeper", path: str | None = None):
        self.name, self.label = name, name
        self.path = data_folder("heterophilous", path) / f"{name}.npz"

    def load(self) -> NodeSet:
        stored = read_arrays(self.path, ARRAYS, RECORD)
        labels = stored["node_labels"].astype(np.int64)
        nodes = len(labels)
        graph = Graph.of(stored["edges"].T, nodes, undirected=not self.name.endswith("_directed"))
        splits = from_masks(*(stored[f"{part}_masks"] for part in ("train", "val", "test")), nodes, str(self.path))
        classes = tuple(str(n) for n in range(int(labels.max()) + 1))
        metric = roc_auc if len(classes) == 2 else accuracy
        return NodeSet(graph, stored["node_features"].astype(np.float32), labels, splits, classes, metric)
