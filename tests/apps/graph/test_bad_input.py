"""Graphs and sets as nobody wants them: refused with a sentence, or handled as it says; the rest is beside its subject:

ids, shapes, types, unsorted rows     data/test_graph.py        labels, splits, features    data/test_datamodule.py
seeds twice or out of range, hubs     sampling/test_neighbours  masks                       data/test_sources.py
files of your own                     data/test_edge_list.py    metrics of one class        test_metrics.py
"""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from apps.graph.cluster_tree import ClusterTree
from apps.graph.data.datamodule import GraphData
from apps.graph.data.diffused_rows import DiffusedRows
from apps.graph.data.graph import Graph, open_graph
from apps.graph.data.hierarchical import Hierarchical
from apps.graph.data.items import NodeSet, Source, Split
from apps.graph.data.loaders import EgoBatches, FullBatch, Neighbourhoods, RandomParts
from apps.graph.data.sampled_tokens import SampledTokens
from apps.graph.encodings import Degree
from apps.graph.metrics import accuracy
from apps.graph.models import GSM, SIGN, DepthFirst, GraphGPS, LargeGT, Polynormer, SGFormer, TunedGNN
from apps.graph.models.convolutions import GATConv, SAGEConv
from apps.graph.sampling.neighbours import Neighbours
from apps.graph.sampling.parts import induced
from apps.graph.tokens import TokenSampler
from core.errors import UserError

NODES = 24


class Given(Source):
    label = "given"

    def __init__(self, nodes: NodeSet):
        self.nodes = nodes

    def load(self):
        return self.nodes


def a_set(edges=60, seed=0, nodes=NODES, **changes):
    """Loops, repeated edges, one direction of some and isolated nodes."""
    random = np.random.default_rng(seed)
    pairs = random.integers(0, nodes // 2, (2, edges))
    graph = Graph.of(np.concatenate([pairs, pairs[:, :5]], 1), nodes, keep_duplicates=True)
    split = Split(*np.split(np.arange(nodes), [nodes - 12, nodes - 6]))
    made = NodeSet(
        graph, random.standard_normal((nodes, 5), np.float32), np.arange(nodes) % 3, [split], tuple("abc"), accuracy
    )
    return made._replace(**changes)


def convolution(form):
    return lambda width: TunedGNN(width, 3, 8, 2, convolution=form)


NETWORKS = {
    "GCN": (FullBatch(), lambda width: TunedGNN(width, 3, 8, 2)),
    "SAGE": (FullBatch(), convolution(SAGEConv)),
    "GAT": (FullBatch(), convolution(GATConv)),
    "SGFormer": (FullBatch(), lambda width: SGFormer(width, 3, 8)),
    "Polynormer": (FullBatch(), lambda width: Polynormer(width, 3, 8, 2, 2)),
    "GraphGPS": (FullBatch(), lambda width: GraphGPS(width, 3, 8, 2)),
    "SIGN": (DiffusedRows(), lambda width: SIGN(width, 3, 8)),
    "GSM++": (Hierarchical(), lambda width: GSM(width, 3, [DepthFirst(8, 2)], 8, 2)),
    "LargeGT": (SampledTokens(6), lambda width: LargeGT(width, 3, 8, 2, codes=8, position_dim=3)),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("edges", [0, 60])
@pytest.mark.parametrize("loops", [None, True, False])
def test_isolated_nodes_loops_and_repeated_edges_train(name, edges, loops):
    loading, make = NETWORKS[name]
    source = Given(a_set(edges) if edges else a_set(1, graph=Graph.of(np.zeros((2, 0), np.int64), NODES)))
    encodings = (Degree(),) if name == "LargeGT" else ()
    made = GraphData(source, loading=loading, evaluation=loading, self_loops=loops, encodings=encodings)
    torch.manual_seed(0)
    model = make(made.channels)
    if name == "LargeGT":
        model = LargeGT(made.channels, 3, 8, 2, codes=8, position_dim=made.encoding.shape[1])
    for batch in made.train_dataloader():
        cross_entropy(model.classify(batch), batch.y).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    model.eval()
    for batch in made.predict_dataloader():
        assert model.classify(batch).isfinite().all()


@pytest.mark.parametrize(
    "loading",
    [Neighbourhoods((2, 2), 11), EgoBatches((2,), 11), SampledTokens(5, 11), DiffusedRows(batch_size=11)],
    ids=lambda loading: type(loading).__name__,
)
def test_a_node_that_is_left_alone_joins_the_batch_before(loading):
    """BatchNorm has no deviation of one node."""
    made = GraphData(Given(a_set()), loading=loading, evaluation=loading)
    assert len(made.parts.train) == 12
    sizes = [len(batch.targets) for batch in made.train_dataloader()]
    assert sizes == [12]
    again = GraphData(Given(a_set(nodes=35)), loading=loading, evaluation=loading)
    assert [len(batch.targets) for batch in again.train_dataloader()] == [11, 12]
    assert sum(len(batch.targets) for batch in again.predict_dataloader()) == 35
    # In order there is nothing to be trained, and batches stay as large as they were asked to be.
    assert [len(batch.targets) for batch in made.predict_dataloader()] == [11, 11, 2]


def test_a_directed_graph_that_is_said_to_be_undirected(tmp_path):
    both = Graph.of(np.array([[0, 1, 2, 2, 2], [1, 2, 2, 0, 0]]), 4, undirected=True, keep_duplicates=True)
    Graph(both.offsets, both.neighbours, symmetric=True).check()
    one = Graph.of(np.array([[0, 1, 2, 3], [1, 2, 1, 0]]), 4)
    promised = Graph(one.offsets, one.neighbours, symmetric=True)
    said = "said to have both directions of every edge, one of (0 and 1|1 and 0|3 and 0|0 and 3) is missing"
    with pytest.raises(UserError, match=said):
        promised.check()
    promised.save(tmp_path / "graph")
    with pytest.raises(UserError, match=said):
        open_graph(tmp_path / "graph")
    for seed in range(20):
        graph = Graph.of(np.random.default_rng(seed).integers(0, 6, (2, 8)), 6)
        same = np.array_equal(graph.transposed().neighbours, graph.neighbours)
        same = same and np.array_equal(graph.transposed().offsets, graph.offsets)
        claimed = Graph(graph.offsets, graph.neighbours, symmetric=True)
        if same:
            claimed.check()
        else:
            with pytest.raises(UserError, match="is missing"):
                claimed.check()


def test_ids_of_64_bit_are_followed():
    """Those of graphs of more than 2^31 nodes."""
    graph = a_set(200).graph
    wide = Graph(graph.offsets, graph.neighbours.astype(np.int64))
    seeds = np.array([3, 7, 23])
    for a, b in zip(Neighbours(graph, (3, 2)).sample(seeds), Neighbours(wide, (3, 2)).sample(seeds), strict=True):
        assert (a is None and b is None) or np.array_equal(a, b)
    for a, b in zip(TokenSampler(graph, 9).draw(seeds), TokenSampler(wide, 9).draw(seeds), strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(induced(graph, seeds).columns, induced(wide, seeds).columns)
    assert ClusterTree(graph).counts == ClusterTree(wide).counts
    assert wide.transposed().neighbours.tolist() == graph.transposed().neighbours.tolist()


def test_tokens_of_a_hub_of_more_edges_than_int16():
    degree = 70_000
    star = Graph.of(np.stack([np.arange(1, degree + 1), np.zeros(degree, np.int64)]), degree + 1, undirected=True)
    drawn = TokenSampler(star, 50).draw(np.array([0, 5]))
    # Every path of two from the hub ends there; from the rim there are as many as the rim is long.
    assert (drawn.counts.sum(1) == 50).all() and len(np.unique(drawn.tokens[0])) >= 49
    assert drawn.tokens[1].max() > 60_000 and (drawn.counts[1] == 1).sum() >= 48


def test_fan_outs():
    made = GraphData(Given(a_set()), loading=Neighbourhoods((0, -1), 6), self_loops=False)
    (first, *_) = made.train_dataloader()
    assert first.hops == (6, 0, 0) and first.csr.edges == 0
    model = TunedGNN(5, 3, 8, 2).eval()
    assert model.classify(first).isfinite().all()
    longer = GraphData(Given(a_set()), loading=Neighbourhoods((2, 2, 2), 6), self_loops=False)
    with pytest.raises(ValueError, match="3 hops for 2 layers; draw one hop a layer"):
        model.classify(next(iter(longer.train_dataloader())))


def test_a_part_of_a_graph_and_loops_that_some_nodes_have():
    """Whether a node beyond the batch has a loop is not known there: one sentence instead of another network."""
    made = GraphData(Given(a_set(200)), loading=RandomParts(8))
    assert made.nodes.graph.loops is None
    with pytest.raises(ValueError, match="does not tell whether nodes have edges to themselves"):
        TunedGNN(5, 3, 8, 2).classify(next(iter(made.train_dataloader())))
