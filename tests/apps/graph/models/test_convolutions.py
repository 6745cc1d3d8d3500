"""Graph convolutions against PyG's, on graphs with isolated nodes, repeated edges and without any edge."""

import pytest
import torch
from scipy.sparse import random_array
from torch_geometric import nn as pyg

from apps.graph.data.items import SparseRows
from apps.graph.models.convolutions import GATConv, GCNConv, SAGEConv
from apps.graph.models.names_gnn import convolution_rules
from apps.graph.models.relation import Relation
from core.checkpoint import Mapping, load
from core.ops.csr import Csr

NODES = 12
PAIRS = {
    "gcn": (lambda a, b: GCNConv(a, b), lambda a, b: pyg.GCNConv(a, b)),
    "sage": (lambda a, b: SAGEConv(a, b), lambda a, b: pyg.SAGEConv(a, b)),
    "gat": (
        lambda a, b: GATConv(a, b, 2, 0.1),
        lambda a, b: pyg.GATConv(a, b // 2, 2, add_self_loops=False, bias=False, negative_slope=0.1),
    ),
}


def pair(name, channels, width):
    torch.manual_seed(0)
    ours, theirs = (make(channels, width).double() for make in PAIRS[name])
    load(ours, theirs.state_dict(), Mapping(*convolution_rules("", "")))
    return ours, theirs


def edges(count, loops):
    random = torch.Generator().manual_seed(1)
    made = torch.randint(0, NODES - 2, (2, count), generator=random)  # two nodes stay alone
    made = torch.cat([made, made[:, :3]], 1)
    # Each loop once at most: PyG counts the weight of a repeated one once, and its row as often.
    made = made[:, made[0] != made[1]]
    return torch.cat([made, torch.arange(5).expand(2, 5)], 1) if loops else made


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("channels", [3, 9])
@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize("count", [0, 40])
def test_values_and_gradients_of_pyg(name, channels, loops, count):
    ours, theirs = pair(name, channels, 6)
    x = torch.randn(NODES, channels, dtype=torch.float64, requires_grad=True)
    edge_index = edges(count, loops)
    y, z = ours(x, Relation(Csr.of(edge_index, NODES)[0])), theirs(x, edge_index)
    torch.testing.assert_close(y, z)
    probe = torch.randn_like(y)
    leaves = [x, ours.weight if name != "sage" else ours.neighbours.weight]
    other = [x, theirs.lin.weight if name != "sage" else theirs.lin_l.weight]
    ours_gradients = torch.autograd.grad((y * probe).sum(), leaves)
    torch.testing.assert_close(ours_gradients, torch.autograd.grad((z * probe).sum(), other))


@pytest.mark.parametrize("name", PAIRS)
def test_sparse_features_say_what_dense_ones_do(name):
    ours, _ = pair(name, 30, 6)
    x = random_array((NODES, 30), density=0.2, format="csr", random_state=0)
    csr = Csr(torch.from_numpy(x.indptr).long(), torch.from_numpy(x.indices), 30)
    sparse = SparseRows(csr, torch.from_numpy(x.data))
    relation = Relation(Csr.of(edges(40, True), NODES)[0])
    torch.testing.assert_close(ours(sparse, relation), ours(torch.from_numpy(x.toarray()), relation))


def test_gat_wants_heads_that_divide():
    with pytest.raises(ValueError, match="give a number of heads that divides it"):
        GATConv(3, 7, 2)
