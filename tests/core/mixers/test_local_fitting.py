from math import factorial

import pytest
import torch

from core.layout import Ragged, coordinates
from core.mixers import LocalFitting
from core.ops.neighbours import nearest_reference
from core.testing import Case, check_mixer

DIM = 6


def of_points(mixer, x, places):
    made = []
    for i, row in enumerate(nearest_reference(places, places, mixer.neighbours)):
        step = places[row] - places[i]
        weights = mixer.weigh(torch.cat([step, step.square().sum(-1, keepdim=True).sqrt()], -1))
        t = weights * (mixer.high(x[row]) - mixer.high(x[i]))
        terms = [c * t**n / factorial(n) for n, c in enumerate(mixer.coefficients, 1)]
        made.append(mixer.low(x[row]).amax(0) + sum(terms).mean(0))
    return mixer.out(torch.stack(made))


def by_definition(mixer, x):
    places = coordinates(x.shape[1:-1], dtype=torch.float64).flatten(0, -2)
    return torch.stack([of_points(mixer, row.flatten(0, -2), places) for row in x]).view_as(x)


def mixed(**options):
    mixer = LocalFitting(DIM, **options)
    torch.nn.init.normal_(mixer.coefficients)
    return mixer


CASES = {
    "volume": Case(lambda: mixed(neighbours=5), DIM, [(1, 1, 1), (2, 3, 2)], by_definition),
    "map, cubic": Case(lambda: mixed(neighbours=4, order=3, rank=2), DIM, [(1, 1), (4, 3)], by_definition),
    "sequence, linear": Case(lambda: mixed(neighbours=9, order=1, rank=1), DIM, [(1,), (6,)], by_definition),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def points(counts):
    torch.manual_seed(0)
    return [[torch.randn(n, width, dtype=torch.float64) for n in counts] for width in (DIM, 3)]


def test_points_by_definition():
    mixer = mixed(neighbours=6, order=3).double()
    segments, places = points([15, 0, 4])
    y = mixer(Ragged.of(segments, places)).tokens
    alone = [of_points(mixer, x, p) for x, p in zip(segments, places, strict=True) if len(x)]
    torch.testing.assert_close(y, torch.cat(alone))


def test_a_shift_of_the_set_changes_nothing():
    mixer = mixed(neighbours=6).double()
    segments, places = points([15])
    y = mixer(Ragged.of(segments, places)).tokens
    torch.testing.assert_close(mixer(Ragged.of(segments, [places[0] - 7])).tokens, y)


def test_order_of_points_changes_nothing():
    mixer = mixed(neighbours=6).double()
    (x,), (place,) = points([15])
    order = torch.randperm(15)
    y = mixer(Ragged.of([x], [place])).tokens
    torch.testing.assert_close(mixer(Ragged.of([x[order]], [place[order]])).tokens, y[order])


def test_gradients_in_places_are_finite_at_coincident_points():
    mixer = mixed(neighbours=6).double()
    (x,), (place,) = points([10])
    place[5:], x[5:] = place[:5], x[:5]
    place.requires_grad_()
    y = mixer(Ragged.of([x], [place])).tokens
    gradients = torch.autograd.grad(y.square().sum(), [place, *mixer.parameters()])
    assert all(g.isfinite().all() for g in gradients) and gradients[0].any()


def test_higher_powers_refine_the_series():
    """Without its second coefficient a quadratic series is the linear one."""
    quadratic, linear = mixed(neighbours=4).double(), mixed(neighbours=4, order=1).double()
    linear.load_state_dict({**quadratic.state_dict(), "coefficients": quadratic.coefficients[:1]})
    x = Ragged.of(*points([9]))
    assert not torch.allclose(quadratic(x).tokens, linear(x).tokens)
    with torch.no_grad():
        quadratic.coefficients[1] = 0
    torch.testing.assert_close(quadratic(x).tokens, linear(x).tokens)


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="at least one of each"):
        LocalFitting(6, order=0)
    mixer = LocalFitting(6)
    with pytest.raises(ValueError, match="give 3"):
        mixer(torch.randn(1, 4, 4, 6))
    with pytest.raises(ValueError, match="give 3"):
        mixer(Ragged.of([torch.randn(2, 6)]))
    with pytest.raises(ValueError, match="no padding"):
        mixer(Ragged.of([torch.randn(2, 6)], [torch.zeros(2, 3)]), mask=torch.ones(2, dtype=torch.bool))
