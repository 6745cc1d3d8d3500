"""Cutting a graph into parts of equal size with few edges in between (Chiang et al. 2019, "Cluster-GCN").

METIS by pymetis where it is installed; otherwise, or where METIS leaves parts empty (a few nodes a part), the nodes in
the order of a hierarchy of clusters, cut into pieces.
"""

__all__ = ["by_hierarchy", "by_metis", "partition"]

from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from apps.graph.data.graph import Graph
from apps.graph.hac import affinity, hierarchy


def partition(graph: Graph, parts: int) -> NDArray[np.int64]:
    """(N,) part of every node, 0 .. parts - 1.

    Raises:
        ValueError: more parts than nodes, or none.
    """
    if not 1 <= parts <= graph.nodes:
        raise ValueError(f"partition: {parts} parts of {graph.nodes} nodes; there must be one to as many as nodes.")
    if find_spec("pymetis"):
        labels = by_metis(graph, parts)
        if len(np.unique(labels)) == parts:
            return labels
    return by_hierarchy(graph, parts)


def by_metis(graph: Graph, parts: int) -> NDArray[np.int64]:
    """METIS' k-way partition of the undirected graph; sizes differ by some percent, and some may be 0."""
    import pymetis

    plain = graph.undirected().without_loops()
    if parts == 1 or not plain.edges:
        return by_hierarchy(graph, parts)
    offsets, neighbours = (np.ascontiguousarray(a, np.int32) for a in (plain.offsets, plain.neighbours))
    if plain.edges >= 2**31:
        return by_hierarchy(graph, parts)
    _, labels = pymetis.part_graph(parts, adjacency=pymetis.CSRAdjacency(offsets, neighbours))
    return np.asarray(labels, np.int64)


def by_hierarchy(graph: Graph, parts: int) -> NDArray[np.int64]:
    """Pieces of the order in which clusters, clusters of clusters and so on stand together; sizes differ by one."""
    order = hierarchy(graph, affinity(graph)).order
    labels = np.empty(graph.nodes, np.int64)
    labels[order] = np.arange(graph.nodes) * parts // max(graph.nodes, 1)
    return labels
