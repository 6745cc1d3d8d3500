import pytest
import torch

from core.layout import Ragged, coordinates
from core.mixers import PointPairAttention
from core.ops.neighbours import nearest_reference
from core.ops.point_pairs import pair_features_reference, places_and_normals
from core.testing import Case, check_mixer

DIM, HEADS = 8, 2


def of_points(mixer, x, coords):
    """Every pair's embedding goes through all three linear layers."""
    places, normals = places_and_normals(coords)
    rows = nearest_reference(places, places, mixer.neighbours, others=True)
    f = pair_features_reference(places[:, None], normals[:, None], places[rows], normals[rows])
    e = mixer.embed(f)
    split = (-1, (HEADS, DIM // HEADS))
    q, k, v = (p(x).unflatten(*split) for p in (mixer.q, mixer.k, mixer.v))
    keys, values = k[rows] + mixer.pair_key(e).unflatten(*split), v[rows] + mixer.pair_value(e).unflatten(*split)
    weights = (torch.einsum("nhd,nkhd->nhk", q, keys) * (DIM // HEADS) ** -0.5).softmax(-1)
    return mixer.out(torch.einsum("nhk,nkhd->nhd", weights, values).flatten(1))


def by_definition(mixer, x):
    places = coordinates(x.shape[1:-1], dtype=torch.float64).flatten(0, -2)
    return torch.stack([of_points(mixer, row.flatten(0, -2), places) for row in x]).view_as(x)


def mixed(neighbours):
    mixer = PointPairAttention(DIM, HEADS, neighbours=neighbours)
    for layer in (mixer.q, mixer.k, mixer.embed, mixer.pair_key, mixer.pair_value):
        torch.nn.init.normal_(layer.bias)
    return mixer


CASES = {
    "map": Case(lambda: mixed(4), DIM, [(1, 1), (1, 2), (4, 3)], by_definition),
    "volume": Case(lambda: mixed(3), DIM, [(1, 1, 1), (2, 3, 2)], by_definition),
    "sequence": Case(lambda: mixed(20), DIM, [(1,), (7,)], by_definition),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def points(counts, seed=0):
    random = torch.Generator().manual_seed(seed)
    return [[torch.randn(n, width, generator=random, dtype=torch.float64) for n in counts] for width in (DIM, 6)]


def rotation(seed):
    q, r = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    q = q * r.diagonal().sign()
    return q * torch.linalg.det(q)


def test_points_with_normals_by_definition():
    mixer = mixed(5).double()
    segments, coords = points([20, 0, 9])
    y = mixer(Ragged.of(segments, coords)).tokens
    alone = [of_points(mixer, x, c) for x, c in zip(segments, coords, strict=True) if len(x)]
    torch.testing.assert_close(y, torch.cat(alone))


@pytest.mark.parametrize("seed", range(3))
def test_rotations_and_shifts_change_nothing(seed):
    mixer = mixed(6).double()
    segments, coords = points([30, 12])
    turn = rotation(seed)
    turned = [torch.cat([c[:, :3] @ turn.T + 5, c[:, 3:] @ turn.T], 1) for c in coords]
    difference = mixer(Ragged.of(segments, turned)).tokens - mixer(Ragged.of(segments, coords)).tokens
    assert difference.abs().max() < 1e-9


def test_normals_count():
    mixer = mixed(6).double()
    segments, coords = points([30])
    bare = mixer(Ragged.of(segments, [coords[0][:, :3]])).tokens
    assert not torch.allclose(mixer(Ragged.of(segments, coords)).tokens, bare)


def test_order_of_points_changes_nothing():
    mixer = mixed(6).double()
    (x,), (place,) = points([25])
    order = torch.randperm(25)
    y = mixer(Ragged.of([x], [place])).tokens
    torch.testing.assert_close(mixer(Ragged.of([x[order]], [place[order]])).tokens, y[order])


def test_gradients_in_places_and_normals_are_finite_at_coincident_points():
    mixer = mixed(4).double()
    (x,), (place,) = points([10])
    place[5:] = place[:5]
    place.requires_grad_()
    y = mixer(Ragged.of([x], [place])).tokens
    gradient = torch.autograd.grad(y.square().sum(), place)[0]
    assert gradient.isfinite().all() and gradient.any()


def test_nodes_may_be_fewer_than_points():
    mixer = mixed(5).double()
    (x,), (coords,) = points([20])
    places, normals = places_and_normals(coords)
    nodes = torch.tensor([3, 11, 0])
    rows = nearest_reference(places, places, 5, others=True)[nodes]
    f = pair_features_reference(places[nodes, None], normals[nodes, None], places[rows], normals[rows])
    whole = mixer(Ragged.of([x], [coords])).tokens
    torch.testing.assert_close(mixer.attend(x[nodes], x, rows, f), whole[nodes])


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="heads that divides dim"):
        PointPairAttention(8, 3)
    mixer = PointPairAttention(8, 2)
    with pytest.raises(ValueError, match="without coordinates"):
        mixer(Ragged.of([torch.randn(2, 8)]))
    with pytest.raises(ValueError, match="no padding"):
        mixer(Ragged.of([torch.randn(2, 8)], [torch.zeros(2, 3)]), mask=torch.ones(2, dtype=torch.bool))
