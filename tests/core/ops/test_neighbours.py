import pytest
import torch

from core.ops import neighbours
from core.ops.neighbours import nearest, nearest_ragged, nearest_reference


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("shape", [(9, 3), (2, 9, 3), (1, 1)])
def test_equal_to_a_stable_sort(shape, others):
    points = torch.randn(shape, dtype=torch.float64)
    assert torch.equal(nearest(points, points, 4, others=others), nearest_reference(points, points, 4, others=others))


def test_equal_distances_go_to_the_lower_number(monkeypatch):
    lattice = torch.stack(torch.meshgrid(*[torch.arange(4.0)] * 3, indexing="ij"), -1).flatten(0, 2)
    expected = nearest_reference(lattice, lattice, 10, others=True)
    assert torch.equal(nearest(lattice, lattice, 10, others=True), expected)
    monkeypatch.setattr(neighbours, "_PIECE", 200)  # three queries a piece
    assert torch.equal(nearest(lattice, lattice, 10, others=True), expected)
    assert torch.equal(nearest(lattice.double(), lattice.double(), 10, others=True), expected)


def test_coincident_points_meet_each_other_and_not_themselves():
    points = torch.zeros(4, 3)
    assert torch.equal(
        nearest(points, points, 3, others=True), torch.tensor([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    )


def trees(monkeypatch, points):
    monkeypatch.setattr(neighbours, "_TREE_POINTS", points)
    asked = []
    brute = neighbours._brute
    monkeypatch.setattr(neighbours, "_brute", lambda q, *rest: asked.append(len(q)) or brute(q, *rest))
    return asked


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("rank", [1, 3, 6])
def test_a_tree_finds_the_same(monkeypatch, rank, others):
    pytest.importorskip("scipy")
    points = torch.randn(300, rank)
    asked = trees(monkeypatch, 10)
    assert torch.equal(nearest(points, points, 7, others=others), nearest_reference(points, points, 7, others=others))
    assert not sum(asked)
    few = torch.randn(12, rank)
    assert torch.equal(nearest(few, few, 7, others=others), nearest_reference(few, few, 7, others=others))


@pytest.mark.parametrize("others", [False, True])
def test_a_tree_leaves_equal_distances_to_brute_force(monkeypatch, others):
    pytest.importorskip("scipy")
    lattice = torch.stack(torch.meshgrid(*[torch.arange(6.0)] * 3, indexing="ij"), -1).flatten(0, 2)
    points = torch.cat([lattice, lattice[:20], torch.zeros(30, 3)])
    asked = trees(monkeypatch, 10)
    ours = nearest(points, points, 9, others=others)
    assert sum(asked) and torch.equal(ours, nearest_reference(points, points, 9, others=others))


def test_points_that_are_not_finite_are_the_last(monkeypatch):
    points = torch.randn(40, 3)
    points[7, 1] = torch.nan
    trees(monkeypatch, 10)
    rows = nearest(points, points, 39)
    assert not (rows[torch.arange(40) != 7] == 7).any()


def test_far_from_the_origin_distances_are_exact():
    points = torch.tensor([[0.0], [0.5], [0.75], [2.0]]) + 4e6
    assert nearest(points, points, 3).tolist() == [[0, 1, 2], [1, 2, 0], [2, 1, 0], [3, 2, 1]]


def test_segments_stay_apart():
    points, queries = torch.randn(12, 2), torch.randn(7, 2)
    offsets, own = torch.tensor([0, 5, 5, 7, 12]), torch.tensor([0, 2, 3, 3, 7])
    rows = nearest_ragged(queries, points, own, offsets, 4)
    assert torch.equal(rows[:2], nearest_reference(queries[:2], points[:5], 4))
    assert torch.equal(rows[2], torch.full((4,), -1))  # a segment without points
    assert torch.equal(rows[3:], nearest_reference(queries[3:], points[7:], 4) + 7)
    alone = nearest_ragged(points, points, offsets, offsets, 3, others=True)
    assert alone[5:7].tolist() == [[6, -1, -1], [5, -1, -1]]
