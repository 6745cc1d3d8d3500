"""How alike neighbours are, and how many there are. Loops do not count, edges as undirected; nodes without a label and
their edges are left out.

    edge homophily      share of edges whose ends have the same label (Zhu et al. 2020)
    node homophily      mean over nodes of the share of neighbours with their label (Pei et al. 2020)
    adjusted homophily  (edge homophily - s) / (1 - s), s = sum over classes of (share of edge ends)^2, which is 0 where
                        edges do not look at labels (Platonov et al. 2023, "Characterizing graph datasets ...")
"""

__all__ = ["Statistics", "alike", "statistics"]

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apps.graph.data.graph import Graph


class Statistics(NamedTuple):
    """Of a graph with labels; homophily is NaN where no edge has labels at both ends.

    Attributes:
        nodes: N.
        edges: undirected, without loops.
        loops: edges from a node to itself.
        isolated: nodes without a neighbour.
        mean_degree, median_degree, largest_degree: neighbours of a node.
        edge_homophily, node_homophily, adjusted_homophily: see the module.
    """

    nodes: int
    edges: int
    loops: int
    isolated: int
    mean_degree: float
    median_degree: float
    largest_degree: int
    edge_homophily: float
    node_homophily: float
    adjusted_homophily: float


def statistics(graph: Graph, labels: NDArray[np.int64]) -> Statistics:
    """Counts and homophily.

    Args:
        graph: N nodes.
        labels: (N,), -1 where unknown.
    """
    both = graph.undirected()
    plain = both.without_loops()
    degrees = plain.degrees
    source, target = plain.edge_index()
    known = (labels[source] >= 0) & (labels[target] >= 0)
    source, target = source[known], target[known]
    edge = node = adjusted = float("nan")
    if len(source):
        edge = float((labels[source] == labels[target]).mean())
        share = alike(graph, labels)
        node = float(share[~np.isnan(share)].mean())
        ends = np.bincount(labels[target]) / len(target)
        chance = float((ends**2).sum())
        adjusted = (edge - chance) / (1 - chance) if chance < 1 else float("nan")
    return Statistics(
        graph.nodes,
        plain.edges // 2,
        both.edges - plain.edges,
        int((degrees == 0).sum()),
        float(degrees.mean()) if len(degrees) else 0.0,
        float(np.median(degrees)) if len(degrees) else 0.0,
        int(degrees.max(initial=0)),
        edge,
        node,
        adjusted,
    )


def alike(graph: Graph, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) share of neighbours with the label of the node; NaN without label or neighbours with one."""
    plain = graph.undirected().without_loops()
    source, target = plain.edge_index()
    known = (labels[source] >= 0) & (labels[target] >= 0)
    source, target = source[known], target[known]
    count = np.bincount(target, minlength=graph.nodes)
    same = np.bincount(target[labels[source] == labels[target]], minlength=graph.nodes)
    return np.where(count > 0, same / np.maximum(count, 1), np.nan)
