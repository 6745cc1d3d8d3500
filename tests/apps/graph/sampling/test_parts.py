"""Induced parts, ego graphs, blocks of rows, walks, clusters: each against its definition."""

import numpy as np
import pytest

from apps.graph import hac
from apps.graph.data.graph import Graph
from apps.graph.hac import affinity, hierarchy
from apps.graph.sampling.clusters import by_hierarchy, by_metis, partition
from apps.graph.sampling.parts import EgoGraphs, induced, row_blocks
from apps.graph.sampling.walks import walks

RANDOM = np.random.default_rng(0)
EDGES = RANDOM.integers(0, 100, (2, 700))
GRAPH = Graph.of(EDGES, 103)


def edges_of(part):
    rows = np.repeat(np.arange(len(part.nodes)), np.diff(part.offsets))
    return rows, part.columns


def test_induced_is_all_edges_among_the_nodes():
    nodes = RANDOM.permutation(103)[:40]
    part = induced(GRAPH, nodes)
    rows, columns = edges_of(part)
    inside = np.isin(GRAPH.targets, nodes) & np.isin(GRAPH.neighbours, nodes)
    assert sorted(part.places.tolist()) == np.nonzero(inside)[0].tolist()
    assert np.array_equal(GRAPH.neighbours[part.places], nodes[columns])
    assert np.array_equal(GRAPH.targets[part.places], nodes[rows])


def test_long_rows_are_searched():
    """A row of 4000 edges and three members: found by looking for the members."""
    edges = np.stack([np.arange(4000), np.zeros(4000, np.int64)])
    part = induced(Graph.of(edges, 4000), np.array([3999, 0, 17]))
    assert part.offsets.tolist() == [0, 0, 3, 3] and sorted(part.columns.tolist()) == [0, 1, 2]


def test_groups_have_no_edges_in_between():
    nodes, starts = np.array([1, 2, 3, 2, 9, 1]), np.array([0, 3, 6])
    part = induced(GRAPH, nodes, starts)
    for group in range(2):
        alone = induced(GRAPH, nodes[starts[group] : starts[group + 1]])
        a, b = part.offsets[starts[group]], part.offsets[starts[group + 1]]
        assert np.array_equal(part.places[a:b], alone.places)
        assert np.array_equal(part.columns[a:b], alone.columns + starts[group])
    with pytest.raises(IndexError, match="position 1 is node 103"):
        induced(GRAPH, np.array([1, 103]))


def test_ego_graphs():
    seeds = np.array([5, 102, 9, 5])
    part = EgoGraphs(GRAPH, (3, 2), seed=4).sample(seeds, 7)
    assert part.nodes[part.starts[:-1]].tolist() == seeds.tolist()
    # 102 is isolated: a graph of one node without edges.
    assert part.starts[2] - part.starts[1] == 1
    for a, b in zip(part.starts[:-1], part.starts[1:], strict=True):
        assert len(set(part.nodes[a:b].tolist())) == b - a <= 1 + 3 + 6
        assert np.array_equal(part.places[part.offsets[a] : part.offsets[b]], induced(GRAPH, part.nodes[a:b]).places)


def test_blocks_of_rows_are_the_whole_graph():
    found = []
    for block in row_blocks(GRAPH, 17):
        rows = np.repeat(np.arange(block.first, block.last), np.diff(block.offsets))
        assert len(np.unique(block.sources)) == len(block.sources)
        found.append(np.stack([block.sources[block.columns], rows]))
    assert np.array_equal(np.concatenate(found, 1), GRAPH.edge_index())


def test_walks_go_along_edges():
    made = walks(GRAPH, np.arange(103), 6)
    linked = set(map(tuple, GRAPH.edge_index().T.tolist()))
    stuck = GRAPH.degrees == 0
    for a, b in zip(made[:, :-1].ravel(), made[:, 1:].ravel(), strict=True):
        assert (b, a) in linked or (stuck[a] and a == b)
    assert np.array_equal(made[:50], walks(GRAPH, np.arange(50), 6))
    assert not np.array_equal(made, walks(GRAPH, np.arange(103), 6, key=1))
    with pytest.raises(IndexError, match="start 0 is node 103"):
        walks(GRAPH, np.array([103]), 2)
    with pytest.raises(ValueError, match="above 0"):
        walks(GRAPH, np.array([1]), 2, p=0)


def test_walks_remember_one_step():
    """From t to v; v's neighbours are t, u (a neighbour of t) and w: chances 1/p, 1, 1/q over their sum."""
    t, v, u, w = range(4)
    graph = Graph.of(np.array([[t, t, v, v], [v, u, u, w]]), 4, undirected=True)
    p, q = 0.5, 4.0
    made = walks(graph, np.full(60_000, t), 2, p, q)
    seen = np.bincount(made[made[:, 1] == v, 2], minlength=4)
    chances = np.array([1 / p, 0, 1, 1 / q])
    expected = chances / chances.sum() * seen.sum()
    assert seen[v] == 0
    statistic = ((seen - expected)[chances > 0] ** 2 / expected[chances > 0]).sum()
    assert statistic < 13.8  # chi-squared with 2 degrees of freedom, p 0.001


def blobs(count=6, size=30, between=8):
    """Dense groups with few edges in between, and their labels."""
    random = np.random.default_rng(2)
    labels = np.arange(count * size) // size
    inner = np.concatenate([random.integers(0, size, (2, size * 6)) + size * n for n in range(count)], 1)
    mixed = random.permutation(count * size)
    edges = np.concatenate([inner, random.integers(0, count * size, (2, between))], 1)
    return Graph.of(mixed[edges], count * size, undirected=True), labels[np.argsort(mixed)]


@pytest.mark.parametrize("form", [by_metis, by_hierarchy])
def test_parts_follow_the_groups(form):
    if form is by_metis:
        pytest.importorskip("pymetis")
    graph, labels = blobs()
    parts = form(graph, 6)
    counts = np.zeros((6, 6))
    np.add.at(counts, (parts, labels), 1)
    assert counts.max(1).sum() > 0.9 * graph.nodes and counts.sum(1).max() <= 36
    assert not form(GRAPH, 1).any()


@pytest.mark.parametrize("parts", [5, 60, 103])
def test_no_part_is_empty(parts):
    assert np.array_equal(np.unique(partition(GRAPH, parts)), np.arange(parts))


def test_parts_that_cannot_be():
    with pytest.raises(ValueError, match="104 parts of 103 nodes"):
        partition(GRAPH, 104)
    assert partition(Graph.of(np.zeros((2, 0), np.int64), 5), 2).tolist() == [0, 0, 0, 1, 1]


def test_hierarchy_is_a_tree_that_depends_on_no_order():
    graph, _ = blobs()
    x = np.random.default_rng(3).normal(size=(graph.nodes, 4)).astype(np.float32)
    tree = hierarchy(graph, affinity(graph, x))
    # A renaming of the nodes turned round: ties apart, the same clusters.
    turned = graph.nodes - 1 - np.arange(graph.nodes)
    other = Graph.of(turned[graph.edge_index()], graph.nodes)
    again = hierarchy(other, affinity(other, x[turned]))
    before = np.arange(graph.nodes)
    linked = graph.without_loops().edge_index()
    for mine, theirs in zip(tree.labels, again.labels, strict=True):
        together = theirs[turned]
        assert len(np.unique(mine)) == len(np.unique(mine * graph.nodes + together)) == len(np.unique(together))
        # Constant inside each cluster below, and at most half of those that had an edge are left.
        assert len(np.unique(before * graph.nodes + mine)) == before.max() + 1
        with_edge = np.unique(before[linked][:, before[linked[0]] != before[linked[1]]])
        alone = before.max() + 1 - len(with_edge)
        assert mine.max() + 1 <= alone + len(with_edge) / 2
        before = mine
    # Ends when no edge is left between clusters.
    assert np.all(before[linked[0]] == before[linked[1]])
    assert sorted(tree.order.tolist()) == list(range(graph.nodes))


def test_nearest_clusters_join_first():
    """A path whose middle edge is long: two clusters, then one."""
    graph = Graph.of(np.array([[0, 1, 2], [1, 2, 3]]), 5, undirected=True)
    long = {(0, 1): 0.1, (1, 2): 0.9, (2, 3): 0.2}
    distances = np.array([long[tuple(sorted(pair))] for pair in graph.edge_index().T.tolist()], np.float32)
    assert [labels.tolist() for labels in hierarchy(graph, distances).labels] == [[0, 0, 1, 1, 2], [0, 0, 0, 0, 1]]


def test_affinity_without_features_is_jaccard():
    graph = Graph.of(np.array([[0, 1, 2, 0], [1, 2, 0, 3]]), 4, undirected=True)
    found = dict(zip(map(tuple, graph.edge_index().T.tolist()), affinity(graph).tolist(), strict=True))
    assert found[1, 2] == pytest.approx(2 / 3) and found[0, 3] == 1
    # Hubs, whose rows are searched: node 0 has 299 neighbours, others some.
    random = np.random.default_rng(0)
    edges = np.concatenate([random.integers(0, 300, (2, 400)), np.stack([np.zeros(299, int), np.arange(1, 300)])], 1)
    graph = Graph.of(edges, 300, undirected=True)
    rows = [set(graph.neighbours[a:b].tolist()) for a, b in zip(graph.offsets[:-1], graph.offsets[1:], strict=True)]
    expected = [1 - len(rows[a] & rows[b]) / len(rows[a] | rows[b]) for a, b in graph.edge_index().T.tolist()]
    assert affinity(graph) == pytest.approx(expected, abs=1e-6)


def test_a_graph_of_both_directions_is_read_once():
    """Loops, repeated edges and distances that differ by direction: the shorter form says the same."""
    random = np.random.default_rng(0)
    for seed in range(5):
        edges = np.random.default_rng(seed).integers(0, 20, (2, 60))
        both = Graph.of(edges, 22, undirected=True, keep_duplicates=True)
        plain = Graph(both.offsets, both.neighbours)
        x = random.standard_normal((22, 3)).astype(np.float32)
        assert np.array_equal(affinity(both, x), affinity(plain, x))
        distances = random.integers(-3, 4, both.edges).astype(np.float32)
        for a, b in zip(
            hac._once_of_both(both.offsets, both.neighbours, distances),
            hac._once(both.offsets, both.neighbours, distances),
            strict=True,
        ):
            assert np.array_equal(a, b)
        ours, theirs = hierarchy(both, distances), hierarchy(plain, distances)
        assert np.array_equal(ours.order, theirs.order) and len(ours.labels) == len(theirs.labels)


def test_edges_by_distance_keep_their_order():
    values = np.random.default_rng(0).choice(
        np.array([0.0, -0.0, 1e-6, -1e-6, 3, -3, 1e30, -1e30, 0.5], np.float32), 500
    )
    source, target = np.arange(500), np.arange(500, 1000)
    order = np.argsort(values, kind="stable")
    ours = hac._ranked(source, target, values)
    assert np.array_equal(ours[0], order) and np.array_equal(ours[1], order + 500)
