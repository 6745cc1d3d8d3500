import pytest
import torch
from torch import nn
from torch_geometric import nn as pyg

from apps.graph.models.convolutions import SAGEConv
from apps.graph.models.graphgps import (
    EdgeGATConv,
    GatedGCN,
    GINConv,
    GINEConv,
    GPSLayer,
    GraphGPS,
    GraphLayerNorm,
    Residual,
)
from apps.graph.models.names_gnn import convolution_rules
from apps.graph.models.relation import Relation
from core.checkpoint import Mapping, derive, load, same


@pytest.mark.parametrize("edges", [False, True])
def test_isomorphism_convolutions_of_pyg(edges, small):
    whole, x = small.graph(symmetric=False), small.features(channels=6)
    index = torch.from_numpy(whole.edge_index())
    torch.manual_seed(0)
    ours = (GINEConv if edges else GINConv)(6).double()
    theirs = (pyg.GINEConv if edges else pyg.GINConv)(ours.feed.layers)
    relation = Relation(whole.csr)
    if edges:
        values = torch.randn(whole.edges, 6, dtype=torch.float64)
        torch.testing.assert_close(ours(x, relation, values), theirs(x, index, values))
    else:
        torch.testing.assert_close(ours(x, relation), theirs(x, index))


def test_norm_over_graphs_of_pyg():
    x, starts = torch.randn(9, 4, dtype=torch.float64), torch.tensor([0, 3, 4, 9])
    batch = torch.tensor([0] * 3 + [1] + [2] * 5)
    torch.testing.assert_close(GraphLayerNorm(4).double()(x, starts), pyg.LayerNorm(4).double()(x, batch))


def gates_by_definition(layer, x, index, edges):
    y = layer.node(x).clone()
    made = []
    for i in range(len(x)):
        into = (index[1] == i).nonzero()[:, 0]
        e = layer.target(x[i]) + layer.source(x[index[0, into]]) + layer.edge(edges[into])
        gate = e.sigmoid()
        y[i] += (gate * layer.value(x[index[0, into]])).sum(0) / (gate.sum(0) + 1e-6)
        made.append(e)
    return x + layer.node_norm(y).relu(), edges + layer.edge_norm(torch.cat(made)).relu()


def test_gates_by_definition(small):
    whole, x = small.graph(symmetric=False, loops=False), small.features(channels=6)
    torch.manual_seed(0)
    layer = GatedGCN(6).double()
    edges = torch.randn(whole.edges, 6, dtype=torch.float64, requires_grad=True)
    ours = layer(x, Relation(whole.csr), edges)
    theirs = gates_by_definition(layer, x, torch.from_numpy(whole.edge_index()), edges)
    torch.testing.assert_close(ours, theirs)
    probe = [torch.randn_like(t) for t in ours]
    leaves = [edges, *layer.parameters()]
    torch.testing.assert_close(torch.autograd.grad(ours, leaves, probe), torch.autograd.grad(theirs, leaves, probe))


@pytest.mark.parametrize("local", [GatedGCN, lambda dim: Residual(SAGEConv(dim, dim))])
def test_graphs_of_a_batch_do_not_see_each_other(local, small):
    torch.manual_seed(0)
    network = GraphGPS(5, 3, 8, 2, local=local, norm=GraphLayerNorm).double().eval()
    one, other = small.graph(nodes=20), small.graph(nodes=12, seed=1)
    x = torch.cat([small.features(20), small.features(12, seed=1)])
    both = type(one).of(
        torch.cat([torch.from_numpy(one.edge_index()), torch.from_numpy(other.edge_index()) + 20], 1).numpy(), 32
    )
    y = network(x, both.csr, starts=torch.tensor([0, 20, 32]))
    torch.testing.assert_close(y[:20], network(x[:20], one.csr))
    torch.testing.assert_close(y[20:], network(x[20:], other.csr))


def test_a_layer_of_nothing_is_refused():
    with pytest.raises(ValueError, match="give it one of the two"):
        GPSLayer(4, None, heads=0, norm=nn.BatchNorm1d)


def test_attention_with_edges_of_pyg(small):
    whole, x = small.graph(symmetric=False), small.features(channels=6)
    index = torch.from_numpy(whole.edge_index())
    torch.manual_seed(0)
    ours, theirs = EdgeGATConv(6, 2).double(), pyg.GATConv(6, 3, 2, edge_dim=6).double()
    rules = [*convolution_rules("", ""), same("edge.{p}", "lin_edge.{p}")]
    load(ours, theirs.state_dict(), Mapping(*rules, derive("along", "att_edge", lambda t: t[0])))
    edges = torch.randn(whole.edges, 6, dtype=torch.float64)
    torch.testing.assert_close(ours(x, Relation(whole.csr), edges), theirs(x, index, edges))
