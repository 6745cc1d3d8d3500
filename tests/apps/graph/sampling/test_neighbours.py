"""Draws: the compiled ones against the reference, uniform by a test of their frequencies, the same everywhere."""

import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.stats import chi2, chisquare

from apps.graph.data.graph import Graph, open_graph
from apps.graph.sampling.neighbours import Neighbours
from apps.graph.sampling.reference import sample_reference
from core.errors import UserError

RANDOM = np.random.default_rng(0)
EDGES = RANDOM.integers(0, 120, (2, 1500))
GRAPH = Graph.of(EDGES, 125, weights=RANDOM.integers(0, 4, 1500), times=RANDOM.integers(0, 100, 1500))
SEEDS = np.array([3, 99, 124, 17, 4, 60])
TIMES = np.array([50, 10, 99, 0, 100, 30])


def same(a, b):
    return all((u is None and v is None) or np.array_equal(u, v) for u, v in zip(a, b, strict=True))


@pytest.mark.parametrize("times", [None, TIMES])
@pytest.mark.parametrize("options", [{}, {"disjoint": True}, {"weighted": True}])
@pytest.mark.parametrize("replace", [False, True])
def test_compiled_draws_are_those_of_the_reference(times, options, replace):
    sampler = Neighbours(GRAPH, (4, 0, 3, -1)[:: 2 if replace else 1], replace=replace, seed=3, **options)
    for key in range(3):
        assert same(sampler.sample(SEEDS, key, times), sample_reference(sampler, SEEDS, key, times))
    assert not same(sampler.sample(SEEDS, 0, times), sampler.sample(SEEDS, 1, times))


def test_what_a_batch_holds():
    drawn = Neighbours(GRAPH, (4, 3)).sample(SEEDS)
    assert drawn.nodes[:6].tolist() == SEEDS.tolist() and len(set(drawn.nodes.tolist())) == len(drawn.nodes)
    assert sum(drawn.hop_nodes) == len(drawn.nodes) and sum(drawn.hop_edges) == len(drawn.columns)
    assert len(drawn.offsets) - 1 == sum(drawn.hop_nodes[:2])
    rows = np.repeat(np.arange(len(drawn.offsets) - 1), np.diff(drawn.offsets))
    # Places are edges of the graph with these ends, each once.
    assert np.array_equal(GRAPH.targets[drawn.places], drawn.nodes[rows])
    assert np.array_equal(GRAPH.neighbours[drawn.places], drawn.nodes[drawn.columns])
    assert len(set(drawn.places.tolist())) == len(drawn.places)
    assert np.array_equal(np.diff(drawn.offsets)[:6], np.minimum(GRAPH.degrees[SEEDS], 4))


def test_everything_with_a_full_fan_out():
    drawn = Neighbours(GRAPH, (-1, -1)).sample(SEEDS)
    rows = len(drawn.offsets) - 1
    assert np.array_equal(np.diff(drawn.offsets), GRAPH.degrees[drawn.nodes[:rows]])


def test_each_neighbour_and_each_pair_is_equally_likely():
    """Inclusion of each of d neighbours: sum (c - Tp)^2 / (Tp (1 - p)) (d - 1) / d is chi-squared with d - 1."""
    degree, fan, turns = 37, 10, 20_000
    star = Graph.of(np.stack([np.arange(1, degree + 1), np.zeros(degree, np.int64)]), degree + 1)
    sampler, counts, pairs = Neighbours(star, (fan,)), np.zeros(degree), np.zeros((degree, degree))
    for key in range(turns):
        places = sampler.sample(np.array([0]), key).places
        counts[places] += 1
        pairs[np.ix_(places, places)] += 1
    p = fan / degree
    statistic = ((counts - turns * p) ** 2).sum() / (turns * p * (1 - p)) * (degree - 1) / degree
    assert 0.001 < chi2.sf(statistic, degree - 1) < 0.999
    both = p * (fan - 1) / (degree - 1)
    scores = (pairs[np.triu_indices(degree, 1)] - turns * both) / np.sqrt(turns * both * (1 - both))
    assert abs((scores**2).mean() - 1) < 0.2 and abs(scores).max() < 4.5


def test_draws_with_replacement_are_uniform():
    star = Graph.of(np.stack([np.arange(1, 14), np.zeros(13, np.int64)]), 14)
    sampler, counts = Neighbours(star, (20,), replace=True), np.zeros(13)
    for key in range(2000):
        counts += np.bincount(sampler.sample(np.array([0]), key).places, minlength=13)
    assert counts.sum() == 40_000 and chisquare(counts).pvalue > 0.001


def test_draws_by_weight_have_their_chances():
    weights = np.array([1.0, 2, 3, 0, 6])
    star = Graph.of(np.stack([np.arange(1, 6), np.zeros(5, np.int64)]), 6, weights=weights)
    turns = 20_000
    expected = dict.fromkeys(itertools.combinations(range(5), 2), 0.0)
    for first, second in itertools.permutations((0, 1, 2, 4), 2):
        chance = weights[first] / weights.sum() * weights[second] / (weights.sum() - weights[first])
        expected[tuple(sorted((first, second)))] += chance
    seen = dict.fromkeys(expected, 0)
    sampler = Neighbours(star, (2,), weighted=True)
    for key in range(turns):
        seen[tuple(sorted(sampler.sample(np.array([0]), key).places.tolist()))] += 1
    possible = [pair for pair in expected if expected[pair]]
    assert sum(seen[pair] for pair in possible) == turns
    assert chisquare([seen[pair] for pair in possible], [turns * expected[pair] for pair in possible]).pvalue > 0.001
    again, counts = Neighbours(star, (20,), weighted=True, replace=True), np.zeros(5)
    for key in range(1000):
        counts += np.bincount(again.sample(np.array([0]), key).places, minlength=5)
    assert counts[3] == 0 and chisquare(counts[weights > 0], 20_000 * weights[weights > 0] / 12).pvalue > 0.001


def test_different_nodes_draw_independently():
    """Two rows of the same length in one batch: the joint table of what they take is that of independent draws."""
    edges = np.stack([np.tile(np.arange(2, 8), 2), np.repeat([0, 1], 6)])
    sampler, joint = Neighbours(Graph.of(edges, 8), (1,)), np.zeros((6, 6))
    for key in range(7200):
        first, second = sampler.sample(np.array([0, 1]), key).places
        joint[first, second - 6] += 1
    assert chisquare(joint.ravel()).pvalue > 0.001


def test_only_earlier_edges_are_seen():
    drawn = Neighbours(GRAPH, (5, 5)).sample(SEEDS, times=TIMES)
    rows = np.repeat(np.arange(len(drawn.offsets) - 1), np.diff(drawn.offsets))
    assert len(drawn.places) and np.all(GRAPH.times[drawn.places] <= TIMES[drawn.trees[rows]])
    everything = Neighbours(GRAPH, (-1,)).sample(SEEDS, times=TIMES)
    seen = [
        (GRAPH.times[GRAPH.offsets[s] : GRAPH.offsets[s + 1]] <= t).sum() for s, t in zip(SEEDS, TIMES, strict=True)
    ]
    assert np.diff(everything.offsets).tolist() == seen
    with pytest.raises(ValueError, match="times"):
        Neighbours(GRAPH, (5,)).sample(SEEDS, times=TIMES[:2])
    with pytest.raises(ValueError, match="times"):
        Neighbours(Graph.of(EDGES, 125), (5,)).sample(SEEDS, times=TIMES)


def test_trees_do_not_share_nodes():
    drawn = Neighbours(GRAPH, (6, 6), disjoint=True).sample(np.array([3, 3, 4]))
    rows = np.repeat(np.arange(len(drawn.offsets) - 1), np.diff(drawn.offsets))
    assert np.array_equal(drawn.trees[rows], drawn.trees[drawn.columns])
    keys = list(zip(drawn.trees.tolist(), drawn.nodes.tolist(), strict=True))
    assert len(set(keys)) == len(keys) and drawn.nodes[:3].tolist() == [3, 3, 4]


def test_threads_copies_and_files_draw_the_same(tmp_path):
    GRAPH.save(tmp_path)
    sampler = Neighbours(GRAPH, (4, 3), seed=1)
    expected = [sampler.sample(SEEDS, key) for key in range(20)]
    with ThreadPoolExecutor(4) as pool:
        for a, b in zip(expected, pool.map(lambda key: sampler.sample(SEEDS, key), range(20)), strict=True):
            assert same(a, b)
    for other in (pickle.loads(pickle.dumps(sampler)), Neighbours(open_graph(tmp_path), (4, 3), seed=1)):
        assert same(expected[7], other.sample(SEEDS, 7))
    wide = Graph(GRAPH.offsets, GRAPH.neighbours.astype(np.int64))
    assert same(expected[7], Neighbours(wide, (4, 3), seed=1).sample(SEEDS, 7))
    assert not same(expected[7], Neighbours(GRAPH, (4, 3), seed=2).sample(SEEDS, 7))


def test_a_hub_of_more_edges_than_int16():
    degree = 70_000
    star = Graph.of(np.stack([np.arange(1, degree + 1), np.zeros(degree, np.int64)]), degree + 1)
    places = np.concatenate([Neighbours(star, (50,)).sample(np.array([0]), key).places for key in range(40)])
    assert places.min() < degree / 100 and places.max() > degree * 0.99
    # The next 50 of 70,000 are different ones: an event of chance below 1e-3 otherwise.
    assert len(np.unique(places)) > 1950


def test_no_seeds_no_hops_no_edges():
    assert len(Neighbours(GRAPH, (4, 3)).sample(SEEDS[:0]).nodes) == 0
    drawn = Neighbours(GRAPH, ()).sample(SEEDS)
    assert drawn.nodes.tolist() == SEEDS.tolist() and drawn.hop_nodes == (6,) and drawn.offsets.tolist() == [0]
    bare = Graph.of(np.zeros((2, 0), np.int64), 5)
    drawn = Neighbours(bare, (4, 3)).sample(np.array([1, 4]))
    assert drawn.nodes.tolist() == [1, 4] and drawn.offsets.tolist() == [0, 0, 0]


def test_what_is_refused_and_leaves_no_trace():
    sampler = Neighbours(GRAPH, (4, 3))
    expected = sampler.sample(SEEDS)
    for bad, said in ((125, "seed 1 is node 125"), (-1, "seed 1 is node -1")):
        with pytest.raises(IndexError, match=said):
            sampler.sample(np.array([1, bad]))
    with pytest.raises(ValueError, match="node 7 is a seed twice"):
        sampler.sample(np.array([3, 7, 8, 7]))
    assert same(expected, sampler.sample(SEEDS))
    # Arrays of a graph that was not built here are looked at before a loop reads them.
    with pytest.raises(UserError, match=r"row 0 names a neighbour outside 0 \.\. 1"):
        Neighbours(Graph(np.array([0, 1, 1]), np.array([2])), (4,))
    with pytest.raises(ValueError, match="need a graph with weights"):
        Neighbours(Graph.of(EDGES, 125), (4,), weighted=True)
    with pytest.raises(ValueError, match="must be -1"):
        Neighbours(GRAPH, (4, -2))
