"""Batches of rows for SIGN and of the whole graph with its clusters for GSM++, and both networks on them."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from torch.nn.functional import cross_entropy

from apps.graph.cluster_tree import ClusterTree
from apps.graph.data.datamodule import GraphData
from apps.graph.data.diffused_rows import DiffusedRows
from apps.graph.data.generators import ContextualSbm
from apps.graph.data.graph import Graph
from apps.graph.data.hierarchical import Hierarchical
from apps.graph.data.items import NodeSet, Source, Split
from apps.graph.encodings import Degree
from apps.graph.metrics import accuracy
from apps.graph.models.diffusion import averaged, spread, symmetric
from apps.graph.models.gsm import GSM, DepthFirst
from apps.graph.models.sign import SIGN, sign_blocks
from core.errors import UserError

OPERATORS = ((symmetric, 2), (averaged, 1))


class Given(Source):
    label = "given"

    def __init__(self, nodes: NodeSet):
        self.nodes = nodes

    def load(self):
        return self.nodes


def data(loading, source=None, **options):
    return GraphData(source or ContextualSbm(300, train=0.4), loading=loading, evaluation=loading, **options)


def sparse_set():
    random = np.random.default_rng(0)
    graph = Graph.of(random.integers(0, 29, (2, 80)), 30)
    words = csr_array((random.random((30, 12)) < 0.2) * np.float32(1))
    return NodeSet(graph, words, np.arange(30) % 2, [Split(*np.split(np.arange(30), [10, 20]))], ("a", "b"), accuracy)


@pytest.mark.parametrize("source", [None, Given(sparse_set())], ids=["dense", "sparse"])
@pytest.mark.parametrize("folder", [False, True])
def test_rows_are_the_blocks_of_the_whole_graph(source, folder, tmp_path):
    made = data(DiffusedRows(OPERATORS, 64, str(tmp_path) if folder else None), source, encodings=(Degree(),))
    nodes = made.nodes
    features = nodes.features.toarray() if isinstance(nodes.features, csr_array) else nodes.features
    whole = sign_blocks(torch.from_numpy(features), nodes.graph.csr, OPERATORS)
    seen = []
    for batch in made.predict_dataloader():
        expected = torch.cat([whole[batch.nodes], made.encoding[batch.nodes]], 1)
        torch.testing.assert_close(batch.x, expected)
        assert batch.x.shape[1] == made.channels and batch.y.tolist() == nodes.labels[batch.nodes].tolist()
        assert batch.degrees.tolist() == nodes.graph.degrees[batch.nodes].tolist()
        seen += batch.nodes[batch.targets].tolist()
    assert seen == list(range(nodes.graph.nodes))


def losses_of(model, made, steps, rate=0.01):
    optimizer = torch.optim.Adam(model.parameters(), rate)
    (batch,) = made.train_dataloader()
    losses = []
    for _ in range(steps):
        y = model.classify(batch)
        assert y.shape == (120, 4)
        losses.append(cross_entropy(y, batch.y))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    return losses


def test_sign_learns():
    torch.manual_seed(0)
    made = data(DiffusedRows(batch_size=120), encodings=(Degree(),))
    losses = losses_of(SIGN(made.channels, 4, 16), made, 30)
    assert losses[-1] < 0.6 * losses[0]


def test_gsm_learns():
    torch.manual_seed(0)
    made = data(Hierarchical(), undirected=True, self_loops=True)
    losses = losses_of(GSM(made.channels, 4, [DepthFirst(8, 2)], 8, 2), made, 40)
    assert losses[-1] < 0.7 * losses[0]
    with pytest.raises(UserError, match="needs a hierarchy of clusters"):
        GSM(made.channels, 4, [DepthFirst(8, 2)], 8, 2).classify(next(iter(data(None).train_dataloader())))


@pytest.mark.parametrize("loops", [None, True, False])
def test_the_tree_is_that_of_neighbourhoods_and_is_shared(loops):
    nodes = sparse_set()
    made = data(Hierarchical(), Given(nodes), self_loops=loops)
    tree = next(iter(made.train_dataloader())).tree
    both = nodes.graph.undirected()
    x = torch.from_numpy(nodes.features.toarray())
    rows = torch.cat(list(spread(x, both.with_loops().csr, 2, symmetric)), 1)
    rows = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
    expected = ClusterTree(both, rows.numpy())
    assert tree.counts == expected.counts
    assert all(torch.equal(a, b) for a, b in zip(tree.labels, expected.labels, strict=True))
    assert next(iter(made.test_dataloader())).tree is tree
    moved = tree.to("meta")
    assert moved.order.device.type == "meta" and tree.order.device.type == "cpu" and tree.to("cpu") is tree


def test_what_cannot_be_is_said():
    with pytest.raises(UserError, match=r"batch_size 5 and hops \[2, 0\] must be at least 1"):
        DiffusedRows(((symmetric, 2), (averaged, 0)), 5)
