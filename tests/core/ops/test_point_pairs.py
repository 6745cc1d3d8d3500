import math

import pytest
import torch
from torch.nn import functional as F

from core.ops.point_pairs import (
    pair_attend,
    pair_attend_reference,
    pair_features,
    pair_features_reference,
    pair_sinusoids,
    places_and_normals,
    safe_norm,
)


def rotation():
    q, r = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    q = q * r.diagonal().sign()
    return q * torch.linalg.det(q)


def cloud(count=6):
    torch.manual_seed(0)
    return [torch.randn(count, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]


def all_pairs(places, normals, features=pair_features):
    return features(places[:, None], normals[:, None], places, normals)


def test_equal_to_arc_cosines():
    places, normals = cloud()
    apart = ~torch.eye(6, dtype=torch.bool)
    ours, theirs = all_pairs(places, normals), all_pairs(places, normals, pair_features_reference)
    torch.testing.assert_close(ours[apart], theirs[apart], rtol=1e-7, atol=1e-9)
    probe = torch.randn(30, 4, dtype=torch.float64)
    own, other = (torch.autograd.grad((t[apart] * probe).sum(), [places, normals]) for t in (ours, theirs))
    torch.testing.assert_close(own, other, rtol=1e-6, atol=1e-8)


def test_rotations_shifts_and_lengths_of_normals_change_nothing():
    places, normals = (t.detach() for t in cloud())
    turn, step = rotation(), torch.randn(3, dtype=torch.float64)
    turned = all_pairs(places @ turn.T + step, 3 * normals @ turn.T)
    assert (turned - all_pairs(places, normals)).abs().max() < 1e-12


def test_angles_keep_their_digits_near_zero():
    normal = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    other = torch.tensor([1.0, 1e-9, 0], dtype=torch.float64)
    angle = pair_features(torch.zeros(3).double(), normal, normal, other)[3]
    torch.testing.assert_close(angle, torch.tensor(1e-9 / math.pi, dtype=torch.float64), rtol=1e-12, atol=0)


def test_gradients_are_finite_where_pairs_degenerate():
    """Coincident points, equal and opposite normals, no normal at all, a step along the normal."""
    places = torch.tensor([[0.0, 0, 0], [0, 0, 0], [1, 0, 0], [2, 0, 0]], dtype=torch.float64, requires_grad=True)
    normals = torch.tensor([[1.0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 0]], dtype=torch.float64, requires_grad=True)
    features = all_pairs(places, normals)
    assert features[0, 1].tolist() == [0, 0, 0, 0]
    assert features[0, 2].tolist() == [1, 0, 1, 1]
    gradients = torch.autograd.grad(features.square().sum() + features.sum(), [places, normals])
    assert all(g.isfinite().all() for g in gradients)
    # What can be differentiated still is: |p_2 - p_1| and |p_3 - p_2|.
    along = torch.autograd.grad(all_pairs(places, normals)[1, 2, 0], places)[0]
    assert along[:, 0].tolist() == [0, -1, 1, 0]


def test_norm_of_zero_has_gradient_zero():
    x = torch.tensor([[0.0, 0], [3, 4]], requires_grad=True)
    y = safe_norm(x)
    assert y.tolist() == [0, 5]
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [[0, 0], pytest.approx([0.6, 0.8])]


def test_sinusoids_of_each_number_lie_side_by_side():
    features = torch.rand(5, 4, dtype=torch.float64)
    y = pair_sinusoids(features, 24)
    expected = [
        function(s * 1e4 ** (-2 * i / 6))
        for s in features[2].tolist()
        for i in range(3)
        for function in (math.sin, math.cos)
    ]
    torch.testing.assert_close(y[2], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_equal_to_the_maps_of_every_pair(shared, masked):
    torch.manual_seed(1)
    shapes = [(2, 5, 3, 4), *[(2, 1 if shared else 5, 6, 3, 4)] * 2, (2, 5, 6, 7), (3, 4, 7), (3, 4, 7)]
    leaves = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    seen = None
    if masked:
        seen = torch.rand(2, 5, 6) > 0.4
        seen[0, 0] = False
    ours, theirs = (f(*leaves, seen=seen, scale=0.7) for f in (pair_attend, pair_attend_reference))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    probe = torch.randn_like(ours)
    own = torch.autograd.grad((ours * probe).sum(), leaves)
    assert all(g.isfinite().all() for g in own)
    if masked:
        assert not ours[0, 0].any()
        leaves = [t.detach().clone() for t in leaves]
        rows = seen.any(-1)  # the reference's softmax of an empty row has no gradient
        leaves = [t.requires_grad_() for t in leaves]
        y = pair_attend_reference(*leaves, seen=seen | ~rows[..., None], scale=0.7)
        other = torch.autograd.grad((y * probe * rows[..., None, None]).sum(), leaves)
    else:
        other = torch.autograd.grad((theirs * probe).sum(), leaves)
    torch.testing.assert_close(own, other, rtol=1e-9, atol=1e-11)


def test_coordinates_are_places_or_places_and_normals():
    coords = torch.randn(4, 6)
    places, normals = places_and_normals(coords)
    assert torch.equal(torch.cat([places, normals], -1), coords)
    places, normals = places_and_normals(coords[:, :2])
    assert torch.equal(places, F.pad(coords[:, :2], (0, 1))) and not normals.any()
    with pytest.raises(ValueError, match="place and normal, 6"):
        places_and_normals(coords[:, :4])
