"""Batches for GSM++: the whole graph and its hierarchy of clusters (`apps.graph.cluster_tree`).

What is near is told by the cosine of [x, P x, P^2 x], P = D^-1/2 (A + I) D^-1/2, so that neighbourhoods count beside
nodes.  The tree is built once, of both directions of every edge, and shared by training, validation and test.
"""

__all__ = ["Hierarchical"]

from weakref import WeakKeyDictionary

from torch import Tensor

from apps.graph.cluster_tree import ClusterTree
from apps.graph.models.diffusion import symmetric

from .graph import Graph
from .items import Features, NodeSet
from .loaders import Batches, FullBatch, Ids, Whole
from .spread import spread_features

HOPS = 2

_trees: "WeakKeyDictionary[Graph, tuple[Features, ClusterTree]]" = WeakKeyDictionary()


class Hierarchical(FullBatch):
    """The whole graph in one batch, with its tree; the arguments are those of `FullBatch`."""

    def batches(self, nodes: NodeSet, encoding: Tensor | None, targets: Ids, seed: int, shuffle: bool) -> Batches:
        made = super().batches(nodes, encoding, targets, seed, shuffle)
        assert isinstance(made, Whole)
        made[0].tree = _tree(nodes)
        return made


def _tree(nodes: NodeSet) -> ClusterTree:
    graph = nodes.graph
    if graph not in _trees or _trees[graph][0] is not nodes.features:
        # Times of edges say nothing here, and a loop has none.
        both = Graph(graph.offsets, graph.neighbours, symmetric=graph.symmetric).undirected()
        rows = spread_features(nodes.features, both.with_loops(), ((symmetric, HOPS),))
        _trees[graph] = nodes.features, ClusterTree(both, rows.reshape(len(rows), -1))
    return _trees[graph][1]
