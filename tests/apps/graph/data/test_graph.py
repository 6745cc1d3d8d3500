"""Graphs in rows: what is built, kept on disk and refused."""

import numpy as np
import pytest

from apps.graph.data.graph import Graph, open_graph
from core.errors import UserError

# A self loop, an edge twice, an isolated node (4), both directions of one edge.
EDGES = np.array([[0, 2, 2, 1, 0, 1, 3], [1, 1, 1, 0, 0, 2, 2]])


def pairs(graph):
    return sorted(map(tuple, graph.edge_index().T.tolist()))


def random_edges(nodes=60, edges=500, seed=0):
    return np.random.default_rng(seed).integers(0, nodes, (2, edges))


def test_rows_are_the_edges_into_each_node():
    graph = Graph.of(EDGES, 5)
    assert graph.nodes == 5 and graph.edges == 6 and graph.degrees.tolist() == [2, 2, 2, 0, 0]
    assert pairs(graph) == [(0, 0), (0, 1), (1, 0), (1, 2), (2, 1), (3, 2)]
    assert graph.offsets.dtype == np.int64 and graph.neighbours.dtype == np.int32
    graph.check()
    assert pairs(Graph.of(EDGES, 5, keep_duplicates=True)).count((2, 1)) == 2


def test_the_order_of_the_list_does_not_matter():
    edges = random_edges()
    mixed = edges[:, np.random.default_rng(1).permutation(edges.shape[1])]
    assert np.array_equal(Graph.of(edges, 60).neighbours, Graph.of(mixed, 60).neighbours)
    # Columns of a table that are not contiguous, and ids of another type.
    strided = np.ascontiguousarray(edges.T).T.astype(np.int32)
    assert np.array_equal(Graph.of(strided, 60).neighbours, Graph.of(edges, 60).neighbours)


def test_both_directions():
    graph = Graph.of(random_edges(), 60, undirected=True)
    expected = {pair for a, b in random_edges().T.tolist() for pair in ((a, b), (b, a))}
    assert pairs(graph) == sorted(expected) and graph.symmetric and graph.transposed() is graph
    again = Graph.of(random_edges(), 60).undirected()
    assert np.array_equal(again.neighbours, graph.neighbours) and again.symmetric


def test_turned_round():
    graph = Graph.of(random_edges(), 60, weights=np.arange(500.0))
    turned = graph.transposed()
    assert pairs(turned) == sorted((b, a) for a, b in pairs(graph))
    matrix = np.zeros((60, 60))
    matrix[graph.targets, graph.neighbours] = graph.weights
    assert np.array_equal(matrix.T[turned.targets, turned.neighbours], turned.weights)


def test_weights_of_repeated_edges_are_added():
    graph = Graph.of(EDGES, 5, weights=np.array([1, 2, 4, 8, 16, 32, 64]))
    assert dict(zip(map(tuple, graph.edge_index().T.tolist()), graph.weights.tolist(), strict=True)) == {
        (0, 0): 16, (1, 0): 8, (0, 1): 1, (2, 1): 6, (1, 2): 32, (3, 2): 64}  # fmt: skip


def test_an_edge_at_two_times_is_two():
    graph = Graph.of(EDGES, 5, times=np.arange(7))
    assert graph.edges == 7 and sorted(graph.times.tolist()) == list(range(7))
    assert graph.times[graph.offsets[1] : graph.offsets[2]].tolist() == [0, 1, 2]


def test_loops_are_dropped_and_added_once():
    graph = Graph.of(EDGES, 5, undirected=True)
    assert (0, 0) not in pairs(graph.without_loops()) and graph.without_loops().symmetric
    looped = graph.with_loops()
    assert [(n, n) in pairs(looped) for n in range(5)] == [True] * 5 and looped.edges == graph.edges + 4
    assert looped.with_loops() is looped and looped.symmetric
    looped.check()
    weighted = Graph.of(EDGES, 5, weights=np.full(7, 3.0)).with_loops()
    values = dict(zip(map(tuple, weighted.edge_index().T.tolist()), weighted.weights.tolist(), strict=True))
    assert values[0, 0] == 3 and values[4, 4] == 1
    with pytest.raises(ValueError, match="have times"):
        Graph.of(EDGES, 5, times=np.arange(7)).with_loops()


def test_no_edges():
    graph = Graph.of(np.zeros((2, 0), np.int64), 3)
    graph.check()
    assert graph.edges == 0 and graph.with_loops().edges == 3 and graph.csr.rows == 3
    assert graph.undirected().edges == 0 and graph.without_loops() is graph


def test_kept_on_disk(tmp_path):
    graph = Graph.of(random_edges(), 60, weights=np.arange(500.0), undirected=True)
    graph.save(tmp_path / "graph")
    opened = open_graph(tmp_path / "graph")
    assert isinstance(opened.neighbours, np.memmap) and not opened.neighbours.flags.writeable
    assert np.array_equal(opened.neighbours, graph.neighbours) and np.array_equal(opened.weights, graph.weights)
    assert opened.symmetric and opened.csr.columns.tolist() == graph.csr.columns.tolist()
    assert opened.with_loops().edges == graph.with_loops().edges
    (tmp_path / "graph" / "neighbours.npy").write_bytes(b"")
    with pytest.raises(UserError, match="holds no whole graph"):
        open_graph(tmp_path / "graph")
    with pytest.raises(UserError, match="holds no whole graph"):
        open_graph(tmp_path)


def test_ids_out_of_range_are_named():
    with pytest.raises(IndexError, match=r"edge 1 goes from 2 to 5; ids must be in 0 \.\. 4 \(2 edges"):
        Graph.of(np.array([[0, 2, -1], [1, 5, 0]]), 5)
    with pytest.raises(ValueError, match=r"shape \(2, E\)"):
        Graph.of(EDGES.T, 5)
    with pytest.raises(ValueError, match="whole numbers"):
        Graph.of(EDGES.astype(float), 5)
    with pytest.raises(ValueError, match="weights are"):
        Graph.of(EDGES, 5, weights=np.ones(3))
    with pytest.raises(ValueError, match="not below 0"):
        Graph.of(EDGES, 5, weights=np.array([1, 1, 1, np.nan, 1, 1, 1]))


@pytest.mark.parametrize(
    ("offsets", "neighbours", "said"),
    [
        ([0, 2, 1, 3], [0, 1, 2], "row 1 ends before"),
        ([0, 1, 2, 2], [0, 1, 2], "end with the number of edges, 3"),
        ([0, 1, 2, 3], [0, 3, 1], r"row 1 names a neighbour outside 0 \.\. 2"),
        ([0, 2, 3, 3], [1, 0, 2], "row 0 is not sorted"),
    ],
)
def test_arrays_that_contradict_each_other(offsets, neighbours, said):
    with pytest.raises(UserError, match=said):
        Graph(np.array(offsets, np.int64), np.array(neighbours, np.int32)).check()
