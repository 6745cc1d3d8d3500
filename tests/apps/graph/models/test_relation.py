"""One answer from the whole graph, from all neighbours within reach, and layer by layer."""

import pytest
import torch
from torch import nn

from apps.graph.data.items import SparseRows
from apps.graph.models.convolutions import GATConv, GCNConv, SAGEConv
from apps.graph.models.polynormer import LargePolynormer, Polynormer
from apps.graph.models.relation import Relation, layers_of
from apps.graph.models.sgformer import GraphBranch
from apps.graph.models.tuned_gnn import TunedGNN
from core.ops.csr import Csr

DEPTH = 3
MODELS = {
    "gcn": lambda: TunedGNN(5, 4, 6, DEPTH, sum_layers=True),
    "sage": lambda: TunedGNN(5, 4, 6, DEPTH, convolution=SAGEConv, norm=nn.LayerNorm, enter=True),
    "gat": lambda: TunedGNN(5, 4, 6, DEPTH, convolution=GATConv, residual=False, norm=None),
    "polynormer": lambda: Polynormer(5, 4, 6, 2, DEPTH),
    "large polynormer": lambda: LargePolynormer(5, 4, 6, 2, DEPTH, pre_norm=True),
}


def made(name):
    torch.manual_seed(0)
    return MODELS[name]().double().eval()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("loops", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
def test_all_neighbours_within_reach_are_the_whole_graph(name, loops, symmetric, small):
    model, whole, x = made(name), small.graph(loops=loops, symmetric=symmetric), small.features()
    expected = model(x, whole.csr)
    seeds = [4, 19, 0]
    nodes, relations = small.drawn_layers(whole, seeds, DEPTH, looped=loops)
    assert [r.csr.rows for r in relations] == sorted((r.csr.rows for r in relations), reverse=True)
    torch.testing.assert_close(model(x[nodes], relations), expected[seeds])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("rows", [1, 7, 100])
def test_layer_by_layer_is_the_whole_graph(name, rows, small):
    model, whole, x = made(name), small.graph(loops=False), small.features()
    torch.testing.assert_close(model(x, whole.csr, rows=rows), model(x, whole.csr))


@pytest.mark.parametrize("name", MODELS)
def test_sparse_features_whole_drawn_and_layer_by_layer(name, small):
    model, whole = made(name), small.graph()
    dense = small.features() * (small.features(seed=1) > 0.5)

    def sparse(x):
        found = x.to_sparse_csr()
        return SparseRows(Csr(found.crow_indices(), found.col_indices(), x.shape[1]), found.values())

    expected = model(dense, whole.csr)
    torch.testing.assert_close(model(sparse(dense), whole.csr), expected)
    torch.testing.assert_close(model(sparse(dense), whole.csr, rows=6), expected)
    nodes, relations = small.drawn_layers(whole, [3, 8], DEPTH, looped=True)
    torch.testing.assert_close(model(sparse(dense[nodes]), relations), expected[[3, 8]])


def test_the_graph_branch_of_sgformer_too(small):
    model, whole, x = GraphBranch(5, 6, DEPTH, initial=True).double().eval(), small.graph(), small.features()
    nodes, relations = small.drawn_layers(whole, [1, 2], DEPTH, looped=True)
    torch.testing.assert_close(model(x[nodes], relations), model(x, whole.csr)[[1, 2]])


def test_sums_over_some_neighbours_estimate_those_over_all(small):
    whole, x = small.graph(edges=200), small.features()
    layer = GCNConv(5, 4).double()
    expected = layer(x, Relation(whole.csr))[0]
    row = torch.from_numpy(whole.neighbours[whole.offsets[0] : whole.offsets[1]])
    degrees = torch.from_numpy(whole.degrees)
    pairs = torch.combinations(row, 2)
    others = [torch.cat([torch.tensor([0]), pair]) for pair in pairs]  # the row's own node is column 0
    mean = torch.stack(
        [
            layer(x[nodes], Relation(Csr(torch.tensor([0, 2]), torch.tensor([1, 2]), 3), degrees[nodes], looped=True))
            for nodes in others
        ]
    ).mean(0)[0]
    torch.testing.assert_close(mean, expected)


def test_what_cannot_be_is_said(small):
    whole = small.graph().csr
    part = whole.first(4)
    with pytest.raises(ValueError, match="give the degrees"):
        Relation(part)
    with pytest.raises(ValueError, match="say so in `looped`"):
        Relation(part, whole.degrees).scales(True)
    with pytest.raises(ValueError, match="2 hops for 3 layers"):
        layers_of(part, 3, whole.degrees, hops=(2, 2, 4))
    with pytest.raises(ValueError, match="1 relations for 2 layers"):
        layers_of([Relation(whole)], 2)
