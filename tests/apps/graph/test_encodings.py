"""Encodings against their definitions on graphs small enough to look at."""

import numpy as np
import pytest

from apps.graph.data.generators import ContextualSbm
from apps.graph.data.graph import Graph
from apps.graph.encodings import Degree, Hops, Laplacian, Node2Vec, RandomWalk
from core.errors import UserError

# Two components, a self loop, an isolated node (7), a directed edge that counts as undirected.
GRAPH = Graph.of(np.array([[0, 1, 2, 2, 4, 5, 5, 0], [1, 2, 0, 3, 5, 6, 5, 1]]), 8)


def matrix(graph):
    made = np.zeros((graph.nodes, graph.nodes))
    source, target = graph.edge_index()
    made[source, target] = made[target, source] = 1
    np.fill_diagonal(made, 0)
    return made


def test_chances_to_return():
    adjacency = matrix(GRAPH)
    step, power = adjacency / np.maximum(adjacency.sum(1, keepdims=True), 1), np.eye(8)
    for n in range(6):
        power = power @ step
        for chunk in (3, 512):
            assert RandomWalk(6, chunk)(GRAPH)[:, n] == pytest.approx(np.diag(power), abs=1e-6)


@pytest.mark.parametrize("graph", [GRAPH, ContextualSbm(300, degree=6).load().graph], ids=["small", "large"])
def test_eigenvectors(graph):
    adjacency = matrix(graph)
    degrees = adjacency.sum(1)
    root = np.where(degrees > 0, 1 / np.sqrt(np.maximum(degrees, 1)), 0)
    laplacian = np.diag(degrees > 0) - root[:, None] * adjacency * root
    made = Laplacian(4)(graph).astype(np.float64)
    values = np.linalg.eigvalsh(laplacian[degrees > 0][:, degrees > 0])
    for column, value in zip(made.T, values[values > 1e-8], strict=False):
        assert laplacian @ column == pytest.approx(value * column, abs=1e-4) and column @ column == pytest.approx(
            1, abs=1e-5
        )
        assert column[np.abs(column).round(6).argmax()] > 0
    assert not made[degrees == 0].any() and np.array_equal(made, Laplacian(4)(graph))
    assert not Laplacian(3)(Graph.of(np.zeros((2, 0), np.int64), 4)).any()


def test_distances_and_degrees():
    assert Degree()(GRAPH)[:, 0] == pytest.approx(np.log1p([2, 2, 3, 1, 1, 2, 1, 0]))
    near = Hops(2)(GRAPH)
    # From node 2, of three neighbours, and node 0, the first of two.
    assert near[:, 0] == pytest.approx([1 / 2, 1 / 2, 1, 1 / 2, 0, 0, 0, 0])
    assert near[:, 1] == pytest.approx([1, 1 / 2, 1 / 2, 1 / 3, 0, 0, 0, 0])
    assert Hops(1, far=0)(GRAPH)[:, 0].tolist() == [0, 0, 1, 0, 0, 0, 0, 0]


def test_node2vec_brings_neighbours_together():
    nodes = ContextualSbm(300, degree=12, classes=3, homophily=0.95).load()
    made = Node2Vec(16, length=10, context=3, per_node=8)(nodes.graph)
    unit = made / np.linalg.norm(made, axis=1, keepdims=True)
    likeness = unit @ unit.T
    same = nodes.labels[:, None] == nodes.labels
    assert likeness[same].mean() > likeness[~same].mean() + 0.3
    assert np.array_equal(made, Node2Vec(16, length=10, context=3, per_node=8)(nodes.graph))
    assert not np.array_equal(made, Node2Vec(16, length=10, context=3, per_node=8, seed=1)(nodes.graph))
    assert Node2Vec(4)(Graph.of(np.zeros((2, 0), np.int64), 3)).shape == (3, 4)
    with pytest.raises(UserError, match="at least 1"):
        Node2Vec(context=0)
