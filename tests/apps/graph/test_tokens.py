"""Tokens of two-hop neighbourhoods: the law of the release's draws, and what makes them repeatable."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse
from scipy.stats import chi2

from apps.graph.data.graph import Graph
from apps.graph.sampling.token_reference import draw_reference
from apps.graph.tokens import TokenSampler
from core.errors import UserError


def random_graph(nodes=60, edges=200, undirected=True, seed=0):
    edges = np.random.default_rng(seed).integers(0, nodes - 2, (2, edges))  # the last two have no edge
    return Graph.of(edges, nodes, undirected=undirected)


def hubs(nodes=3000, edges=30_000, **options):
    """Most edges at few nodes: paths are many and ends few."""
    random = np.random.default_rng(0)
    made = (random.random((2, edges)) ** 4 * nodes).astype(np.int64)
    return Graph.of(made, nodes, **options or {"undirected": True})


GRAPHS = {
    "both directions": random_graph(),
    "one direction": random_graph(undirected=False),
    "hubs": hubs(),
    "directed hubs": hubs(keep_duplicates=False),
    "repeated edges": hubs(keep_duplicates=True),
}


def pool(graph, node):
    """The release's: a row of A beside a row of A A."""
    matrix = scipy.sparse.csr_array(
        (np.ones(graph.edges), graph.neighbours, graph.offsets), shape=(graph.nodes, graph.nodes)
    )
    square = (matrix @ matrix).tocsr()
    near = matrix.indices[matrix.indptr[node] : matrix.indptr[node + 1]]
    return near.tolist() + square.indices[square.indptr[node] : square.indptr[node + 1]].tolist()


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("count", [2, 9, 70])
def test_compiled_draws_are_those_of_the_reference(name, count):
    graph = GRAPHS[name]
    sampler = TokenSampler(graph, count, seed=3)
    nodes = np.array([59, 0, 7, 7, 12, 58, 30, 3])
    for key in (0, 5):
        for ours, theirs in zip(sampler.draw(nodes, key), draw_reference(sampler, nodes, key), strict=True):
            assert np.array_equal(ours, theirs)
    assert (sampler.marks() == -1).all()


def drawn_often(sampler, node, times):
    """How often each node was drawn."""
    total = np.zeros(sampler.graph.nodes)
    for key in range(times):
        drawn = sampler.draw(np.array([node]), key)
        total += np.bincount(drawn.tokens[0, 1:], drawn.counts[0, 1:], minlength=len(total))
    return total


@pytest.mark.parametrize(
    ("graph", "node", "by_chance"),
    [(random_graph(), 5, False), (random_graph(undirected=False), 3, False), (hubs(300, 8000), 40, True)],
    ids=["both directions", "one direction", "many paths"],
)
def test_every_entry_of_the_pool_is_equally_likely(graph, node, by_chance, monkeypatch):
    sampler = TokenSampler(graph, 6, seed=1)
    entries = pool(graph, node)
    paths = int(graph.degrees[node] + graph.degrees[graph.neighbours[slice(*graph.offsets[node : node + 2])]].sum())
    assert (paths // 64 > 10) == by_chance and len(entries) > 5
    times, share = 4000, 5 / len(entries)
    total = drawn_often(sampler, node, times)
    # A node once in the pool is drawn or not; one twice in it is the sum of two entries, which exclude one another.
    chances = np.bincount(entries, minlength=graph.nodes)
    assert set(np.nonzero(total)[0]) <= set(entries)
    once, twice = chances == 1, chances == 2
    assert once.any() and twice.any() and chances.max() == 2
    size, sums = len(entries), total - times * share * chances
    # Covariance of the counts: each entry p (1 - p), two of them -p (1 - p) / (size - 1).
    unit = times * share * (1 - share) * size / (size - 1)
    statistic = (sums[once] ** 2).sum() / unit + (sums[twice] ** 2).sum() / (2 * unit)
    assert 0.001 < chi2.sf(statistic, once.sum() + twice.sum() - 1) < 0.9999


def test_a_small_pool_is_repeated_and_an_empty_one_is_the_graph():
    graph = Graph.of(np.array([[1, 2], [0, 1]]), 12)  # 2 -> 1 -> 0
    sampler = TokenSampler(graph, 8)
    drawn = sampler.draw(np.array([0, 1]))
    assert dict(zip(drawn.tokens[0, 1:3].tolist(), drawn.counts[0, 1:3].tolist(), strict=True)) == {1: 4, 2: 3}
    assert drawn.tokens[1, 1] == 2 and drawn.counts[1].tolist() == [1, 7, 0, 0, 0, 0, 0, 0]
    seen = set()
    for key in range(30):
        alone = sampler.draw(np.array([5]), key)
        assert alone.tokens[0, 0] == 5 and alone.counts.tolist() == [[1] * 8]
        seen |= set(alone.tokens[0, 1:].tolist())
    assert seen == set(range(12))
    tiny = TokenSampler(Graph.of(np.zeros((2, 0), np.int64), 3), 9).draw(np.arange(3))
    assert (tiny.counts.sum(1) == 9).all() and tiny.tokens.max() == 2


def test_a_node_that_meets_itself_stays_first_and_is_among_the_others():
    graph = Graph.of(np.array([[0], [1]]), 2, undirected=True)  # the pool of 0 is [1, 0]
    drawn = TokenSampler(graph, 5).draw(np.array([0]))
    assert drawn.tokens[0, :3].tolist() == [0, 1, 0] and drawn.counts[0].tolist() == [1, 2, 2, 0, 0]


def test_draws_depend_on_seed_key_and_node_alone():
    graph = random_graph(2000, 20_000)
    sampler, nodes = TokenSampler(graph, 20, seed=4), np.random.default_rng(0).permutation(2000)
    whole = sampler.draw(nodes, 2)
    parts = [sampler.draw(part, 2) for part in np.array_split(nodes, 7)]
    with ThreadPoolExecutor(3) as pools:
        threads = list(pools.map(lambda part: sampler.draw(part, 2), np.array_split(nodes, 7)))
    copied = pickle.loads(pickle.dumps(sampler)).draw(nodes, 2)
    for other in (parts, threads):
        assert np.array_equal(np.concatenate([part.tokens for part in other]), whole.tokens)
        assert np.array_equal(np.concatenate([part.counts for part in other]), whole.counts)
    assert np.array_equal(copied.tokens, whole.tokens)
    assert not np.array_equal(sampler.draw(nodes, 3).tokens, whole.tokens)
    assert not np.array_equal(TokenSampler(graph, 20, seed=5).draw(nodes, 2).tokens, whole.tokens)
    assert (whole.counts.sum(1) == 20).all() and (whole.tokens[:, 0] == nodes).all()


def test_a_table_is_drawn_once_and_kept(tmp_path):
    sampler, nodes = TokenSampler(random_graph(), 9, seed=2), np.array([4, 0, 59])
    expected = sampler.draw(nodes)
    held, kept = sampler.table(), sampler.table(tmp_path / "tokens")
    assert isinstance(kept.drawn.tokens, np.memmap) and kept.drawn.tokens.dtype == np.int32
    for table in (held, kept, sampler.table(tmp_path / "tokens")):
        for key in (0, 1):
            assert np.array_equal(table.draw(nodes, key).tokens, expected.tokens)
            assert np.array_equal(table.draw(nodes, key).counts, expected.counts)
    with pytest.raises(UserError, match="name another folder"):
        TokenSampler(random_graph(), 8, seed=2).table(tmp_path / "tokens")
    (tmp_path / "tokens" / "counts.npy").write_bytes(b"")
    with pytest.raises(UserError, match="holds no whole table"):
        sampler.table(tmp_path / "tokens")
    with pytest.raises(IndexError, match=r"node 1 is node 60; ids must be in 0 .. 59"):
        held.draw(np.array([0, 60]))


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="count 1 must be in 2"):
        TokenSampler(random_graph(), 1)
    with pytest.raises(ValueError, match="count 40000 must be in 2"):
        TokenSampler(random_graph(), 40_000)
    with pytest.raises(IndexError, match="node 0 is node -1"):
        TokenSampler(random_graph(), 4).draw(np.array([-1]))
