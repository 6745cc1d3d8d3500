"""What a source of graphs gives, and what a network gets.

`NodeSet` is a whole data set in numpy arrays, which may be memory-mapped. `Batch` is the part of it that one step sees,
in tensors; every kind of loader makes the same:

    x          (n, F + P) float32, features and beside them encodings; `SparseRows` where features are sparse: a
               linear layer of it is a `csr_sum`
    csr        r rows over n columns: the edges into the first r nodes, r = n unless neighbours were drawn
    targets    (S,) positions of the nodes that are predicted
    y          (S,) int64 labels, -1 unknown; or (S, T) float32 of T binary tasks, NaN unknown
    nodes      (n,) int64 ids in the whole graph
    degrees    (n,) int64 edges into each node in the whole graph
    weights    (e,) float32 of the edges, or None
    encoding   (n, P) float32, or None
    hops       nodes that each hop added, the seeds before the first; None where nothing was drawn. Layer l = 1 .. L
               makes the first sum(hops[: L - l + 1]) nodes: `csr.first(rows)`
    starts     (G + 1,) int64 where groups without edges in between begin (ego graphs), or None
    number     of the batch since training began
    whole      the batch is the whole graph: what follows from it is worth keeping
    loops      every node of the whole graph has an edge to itself (True), none has (False), or some have (None)
    rows       nodes to compute at a time, layer by layer, where the network can; None for all
    tree       clusters of the whole graph, or None
    tokens     sampled neighbours of the nodes that are predicted, or None

In a batch of drawn neighbours only the first r nodes have edges, and the last hop's none: degrees of the whole graph
are there so that a normalisation does not depend on what was drawn.
"""

__all__ = ["Batch", "NodeSet", "Source", "SparseRows", "Split", "Tokens"]

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from apps.graph.cluster_tree import ClusterTree
from core.ops.csr import Csr

from .graph import Graph

Features = NDArray[np.floating] | csr_array
Metric = Callable[[Tensor, Tensor], float]


class Split(NamedTuple):
    """Nodes to train on, to choose on and to be judged on: rising int64 ids, in no two of them."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


class SparseRows(NamedTuple):
    """Sparse features: value e is that of column `csr.columns[e]` in row `csr.numbers[e]`."""

    csr: Csr
    values: Tensor

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "SparseRows":
        """On another device."""
        return SparseRows(self.csr.to(device, non_blocking), self.values.to(device, non_blocking=non_blocking))

    def dense(self) -> Tensor:
        """(n, F)."""
        made = self.values.new_zeros(self.csr.rows, self.csr.width)
        return made.index_put_((self.csr.numbers, self.csr.columns.long()), self.values, accumulate=True)


class Tokens(NamedTuple):
    """What each of S predicted nodes attends to, without rows that occur twice.

    Attributes:
        features: (U, 3, F) of every node that occurs: x, P x, P^2 x.
        index: (S, K) rows of `features`, the node's own first.
        counts: (S, K) how many equal tokens each stands for; 0 is padding.
    """

    features: Tensor
    index: Tensor
    counts: Tensor

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Tokens":
        """On another device."""
        return Tokens(*(part.to(device, non_blocking=non_blocking) for part in self))


class NodeSet(NamedTuple):
    """A graph whose nodes have features and labels.

    Attributes:
        graph: its edges.
        features: (N, F) float32 or float16, or sparse.
        labels: (N,) int64, -1 where unknown; or (N, T) float32 of binary tasks, NaN where unknown.
        splits: the official ones, or none.
        classes: their names, or those of the tasks.
        metric: what the set is judged by.
        ids: names of the nodes, where they have others than their numbers.
        checked: features and labels have been looked at when they were stored.
    """

    graph: Graph
    features: Features
    labels: NDArray
    splits: list[Split]
    classes: tuple[str, ...]
    metric: Metric
    ids: tuple[str, ...] | None = None
    checked: bool = False

    @property
    def tasks(self) -> int:
        """How many numbers a network predicts for a node."""
        return len(self.classes)


class Source:
    """Base class of what can be named as data.

    Attributes:
        label: for tables and first lines.
    """

    label: str = "graph"

    def load(self) -> NodeSet:
        """The whole set."""
        raise TypeError(f"{type(self).__name__} must define load")


@dataclass
class Batch:
    """See the module."""

    x: Tensor | SparseRows
    csr: Csr
    targets: Tensor
    y: Tensor
    nodes: Tensor
    degrees: Tensor
    weights: Tensor | None = None
    encoding: Tensor | None = None
    hops: tuple[int, ...] | None = None
    starts: Tensor | None = None
    number: int = 0
    whole: bool = False
    loops: bool | None = None
    rows: int | None = None
    tree: ClusterTree | None = None
    tokens: Tokens | None = None
    _moved: "Batch | None" = None

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """On another device; the last copy is kept, so that a whole graph moves once."""
        device = torch.device(device)
        if self.nodes.device == device:
            return self
        if self._moved is None or self._moved.nodes.device != device:
            values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "_moved"}
            for name, value in values.items():
                if isinstance(value, Tensor | SparseRows | Csr | ClusterTree | Tokens):
                    values[name] = value.to(device, non_blocking=non_blocking)
            self._moved = Batch(**values)
        return self._moved

    def pin_memory(self) -> "Batch":
        """Tensors in memory that a GPU reads directly."""
        for f in fields(self):
            if isinstance(value := getattr(self, f.name), Tensor):
                setattr(self, f.name, value.pin_memory())
        return self

    @property
    def edge_index(self) -> Tensor:
        """(2, e) int64, sources above targets, for layers of PyG."""
        return torch.stack([self.csr.columns.long(), self.csr.numbers])
