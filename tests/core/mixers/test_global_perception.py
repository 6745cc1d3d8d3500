import pytest
import torch
from torch.nn import functional as F

from core.layout import Ragged
from core.mixers import GlobalPerception
from core.ops.edge_conv import edge_conv_reference
from core.ops.neighbours import nearest_reference
from core.testing import Case, check_mixer

DIM, HEADS = 8, 2


def edges(layer, own, near, rows):
    """[x_i, x_j - x_i] written out; own and near are other features of the same points."""
    pairs = torch.cat([own[:, None].expand(*rows.shape, -1), near[rows] - own[:, None]], -1)
    return F.leaky_relu(layer(pairs), 0.2).amax(1)


def attention(mixer, x, other):
    q, k, v = (p(t).unflatten(-1, (HEADS, -1)) for p, t in ((mixer.q, x), (mixer.k, other), (mixer.v, other)))
    weights = (torch.einsum("nhd,mhd->hnm", q, k) * (DIM // HEADS) ** -0.5).softmax(-1)
    return mixer.out(torch.einsum("hnm,mhd->nhd", weights, v).flatten(1))


def of_points(mixer, x):
    first = edges(mixer.offset_edges, x, x, nearest_reference(x, x, mixer.neighbours))
    moved = x + mixer.offset(first)
    g = edges(mixer.edges, moved, x, nearest_reference(moved, x, mixer.neighbours))
    r = g + attention(mixer.cross, mixer.graph_norm(g), mixer.norm(x))
    return r + attention(mixer.all, mixer.all_norm(r), mixer.all_norm(r))


def by_definition(mixer, x):
    return torch.stack([of_points(mixer, row.flatten(0, -2)) for row in x]).view_as(x)


def mixed(neighbours):
    """Offsets that move points to other neighbours."""
    mixer = GlobalPerception(DIM, HEADS, neighbours=neighbours)
    torch.nn.init.normal_(mixer.offset.weight, std=0.5)
    return mixer


CASES = {
    "few neighbours": Case(lambda: mixed(3), DIM, [(1,), (2,), (11,)], by_definition),
    "all": Case(lambda: mixed(16), DIM, [(1, 1), (3, 2)], by_definition),
    "at the start": Case(
        lambda: GlobalPerception(DIM, HEADS, neighbours=3), DIM, [(1, 1, 1), (2, 2, 2)], by_definition
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_offsets_move_points_to_other_neighbours_and_learn():
    torch.manual_seed(0)
    x = torch.randn(20, DIM, dtype=torch.float64)
    mixer = mixed(3).double()
    first = edges(mixer.offset_edges, x, x, nearest_reference(x, x, 3))
    moved = x + mixer.offset(first)
    assert not torch.equal(nearest_reference(moved, x, 3), nearest_reference(x, x, 3))
    gradients = torch.autograd.grad(mixer(Ragged.of([x])).tokens.square().sum(), mixer.offset.weight)
    assert gradients[0].any()


def test_the_first_offsets_are_zero():
    x = torch.randn(9, DIM, dtype=torch.float64)
    mixer = GlobalPerception(DIM, HEADS, neighbours=4).double()
    rows = nearest_reference(x, x, 4)
    expected = F.leaky_relu(edge_conv_reference(x, mixer.edges.weight, mixer.edges.bias, rows), 0.2)
    graph = mixer._graph(x, lambda a, b: nearest_reference(a, b, 4))
    torch.testing.assert_close(graph, expected)


def test_order_of_points_changes_nothing():
    mixer = mixed(3).double()
    x, order = torch.randn(14, DIM, dtype=torch.float64), torch.randperm(14)
    y = mixer(Ragged.of([x])).tokens
    torch.testing.assert_close(mixer(Ragged.of([x[order]])).tokens, y[order])


def test_half_precision_input_under_autocast():
    mixer = mixed(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert mixer(torch.randn(1, 5, DIM).bfloat16()).isfinite().all()


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="at least one"):
        GlobalPerception(8, 2, neighbours=0)
    with pytest.raises(ValueError, match="no padding"):
        GlobalPerception(8, 2)(Ragged.of([torch.randn(2, 8)]), mask=torch.ones(2, dtype=torch.bool))
