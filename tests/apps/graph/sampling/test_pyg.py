"""Our draws through PyG's loaders: the same batches for any number of workers, the right rows of everything."""

import numpy as np
import pytest
import torch

from apps.graph.data.graph import Graph

data_module = pytest.importorskip("torch_geometric.data")
from torch_geometric.loader import NodeLoader  # noqa: E402

from apps.graph.sampling.pyg import NeighbourSampler, graph_of  # noqa: E402

MADE = torch.Generator().manual_seed(0)
DATA = data_module.Data(
    x=torch.arange(200.0)[:, None],
    y=torch.arange(200) % 3,
    edge_index=torch.randint(200, (2, 3000), generator=MADE),
    edge_attr=torch.arange(3000.0)[:, None],
    time=torch.randint(100, (3000,), generator=MADE),
)


def loader(workers=0, nodes=None, time=None, **options):
    graph, permutation = graph_of(DATA, time="time" if time is not None else None)
    sampler = NeighbourSampler(graph, (5, 3), permutation=permutation, **options)
    return NodeLoader(
        DATA, sampler, input_nodes=torch.arange(0, 200, 3) if nodes is None else nodes, input_time=time, batch_size=16,
        num_workers=workers,
    )  # fmt: skip


def test_batches_are_parts_of_the_data():
    for batch in loader():
        assert torch.equal(batch.n_id[: batch.batch_size] * 1.0, batch.x[: batch.batch_size, 0])
        assert torch.equal(batch.n_id[: batch.batch_size], batch.input_id * 3)
        assert torch.equal(batch.y, batch.n_id % 3)
        # Attributes of edges belong to edges of the same ends.
        own = DATA.edge_index[:, batch.edge_attr[:, 0].long()]
        assert torch.equal(own, batch.n_id[batch.edge_index])
        assert sum(batch.num_sampled_nodes) == batch.num_nodes and sum(batch.num_sampled_edges) == batch.num_edges


def test_workers_change_nothing():
    alone, many = list(loader()), list(loader(workers=2))
    assert len(alone) == len(many) == 5
    for a, b in zip(alone, many, strict=True):
        assert torch.equal(a.n_id, b.n_id) and torch.equal(a.edge_index, b.edge_index) and torch.equal(a.e_id, b.e_id)


def test_an_epoch_draws_anew_when_told():
    given = loader()
    first = [batch.n_id for batch in given]
    assert all(torch.equal(a, batch.n_id) for a, batch in zip(first, given, strict=True))
    given.node_sampler.set_epoch(1)
    assert any(not torch.equal(a, batch.n_id) for a, batch in zip(first, given, strict=True))


def test_induced_and_disjoint_batches():
    for batch in loader(induce=True):
        inside = torch.isin(DATA.edge_index, batch.n_id).all(0)
        assert batch.num_edges == int(inside.sum())
    for batch in loader(disjoint=True):
        source, target = batch.edge_index
        assert torch.equal(batch.batch[source], batch.batch[target])
    with pytest.raises(ValueError, match="choose one"):
        NeighbourSampler(Graph.of(np.zeros((2, 0), np.int64), 1), (1,), disjoint=True, induce=True)


def test_times_of_seeds():
    nodes = torch.arange(40)
    for batch in loader(nodes=nodes, time=nodes):
        assert torch.all(DATA.time[batch.e_id] <= batch.seed_time[batch.batch[batch.edge_index[1]]])


def test_edges_are_not_sampled_around():
    with pytest.raises(NotImplementedError, match="NodeLoader"):
        NeighbourSampler(Graph.of(np.zeros((2, 0), np.int64), 1), (1,)).sample_from_edges(None)
