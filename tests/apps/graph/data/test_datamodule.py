"""Batches of every kind: what networks get, the same after an interruption and for any number of workers."""

import pickle

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.fabric.utilities import move_data_to_device
from scipy.sparse import csr_array

from apps.graph.data.checks import checked
from apps.graph.data.datamodule import GraphData
from apps.graph.data.features import take
from apps.graph.data.generators import ContextualSbm
from apps.graph.data.graph import Graph
from apps.graph.data.items import NodeSet, Source, SparseRows, Split
from apps.graph.data.loaders import Clusters, EgoBatches, FullBatch, Neighbourhoods, RandomParts
from apps.graph.encodings import Degree, Hops
from apps.graph.metrics import accuracy
from core.errors import UserError
from core.ops.csr import csr_mean, csr_sum

KINDS = [
    FullBatch(), Neighbourhoods((4, 3), 32), Neighbourhoods((4,), 32, induce=True), EgoBatches((3, 2), 32),
    RandomParts(100), Clusters(12, 3),
]  # fmt: skip
names = [f"{type(kind).__name__}{n}" for n, kind in enumerate(KINDS)]


class Given(Source):
    label = "given"

    def __init__(self, nodes: NodeSet):
        self.nodes = nodes

    def load(self):
        return self.nodes


def data(kind, **options):
    return GraphData(ContextualSbm(400, train=0.4), loading=kind, evaluation=kind, encodings=(Degree(),), **options)


def check(batch, made):
    """Everything in a batch belongs to its nodes."""
    ids = batch.nodes.numpy()
    nodes = made.nodes
    rows = torch.cat([torch.from_numpy(nodes.features), made.encoding], 1)
    assert torch.equal(batch.x, rows[ids]) and batch.x.shape[1] == made.channels
    assert torch.equal(batch.y, torch.from_numpy(nodes.labels[ids[batch.targets]]))
    assert batch.degrees.tolist() == nodes.graph.degrees[ids].tolist()
    assert torch.equal(batch.encoding, made.encoding[batch.nodes])
    batch.csr.check()
    linked = set(map(tuple, nodes.graph.edge_index().T.tolist()))
    assert all(pair in linked for pair in map(tuple, batch.nodes[batch.edge_index].T.tolist()))


@pytest.mark.parametrize("kind", KINDS, ids=names)
def test_an_epoch_predicts_every_node_of_the_part_once(kind):
    made = data(kind)
    for part, loader in (("train", made.train_dataloader()), ("test", made.test_dataloader())):
        seen = []
        for batch in loader:
            check(batch, made)
            seen += batch.nodes[batch.targets].tolist()
        assert sorted(seen) == getattr(made.parts, part).tolist()
    seen = [n for batch in made.predict_dataloader() for n in batch.nodes[batch.targets].tolist()]
    assert sorted(seen) == list(range(400))


def signature(batch):
    return batch.nodes.tolist(), batch.targets.tolist(), batch.csr.columns.tolist(), batch.number


@pytest.mark.parametrize("kind", KINDS, ids=names)
def test_batches_depend_on_seed_and_number_alone(kind):
    torch.manual_seed(7)
    made = data(kind)
    loader = made.train_dataloader()
    epochs = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        epochs.append([signature(batch) for batch in loader])
    if len(epochs[0]) > 1:
        assert epochs[0] != epochs[1]
    # Interrupted after the first batch of the second epoch.
    torch.manual_seed(7)
    again = data(kind).train_dataloader()
    again.sampler.set_epoch(1)
    again.load_state_dict({"given": 1 % len(again)})
    assert [signature(batch) for batch in again] == epochs[1][1 % len(again) :]
    # Validation is the same every time.
    assert [signature(b) for b in made.val_dataloader()] == [signature(b) for b in made.val_dataloader()]


def test_workers_change_nothing():
    torch.manual_seed(7)
    alone = [signature(batch) for batch in data(KINDS[1]).train_dataloader()]
    torch.manual_seed(7)
    assert [signature(batch) for batch in data(KINDS[1], workers=2).train_dataloader()] == alone


def test_two_layers_on_drawn_neighbours_are_those_of_the_whole_graph():
    """All neighbours drawn: the mean of means at the seeds, though only a prefix of the rows is there."""
    made = data(Neighbourhoods((-1, -1), 50))
    whole = next(iter(data(FullBatch()).predict_dataloader()))
    expected = csr_mean(csr_mean(whole.x, whole.csr), whole.csr)
    for batch in made.predict_dataloader():
        first = csr_mean(batch.x, batch.csr)
        rows = sum(batch.hops[:1])
        padded = torch.cat([first, first.new_zeros(len(batch.nodes) - len(first), first.shape[1])])
        second = csr_mean(padded, batch.csr.first(rows))
        torch.testing.assert_close(second, expected[batch.nodes[:rows]])


def test_rows_of_a_batch_that_is_held_are_not_written_again(tmp_path):
    random = np.random.default_rng(0)
    for dtype in (np.float32, np.float16, np.float64):
        np.save(tmp_path / "x.npy", random.random((500, 6)).astype(dtype))
        table = np.load(tmp_path / "x.npy", mmap_mode="r")
        ids = [random.integers(0, 500, random.integers(0, 300)) for _ in range(20)]
        held = [take(table, own) for own in ids]
        parts = [rows[len(rows) // 2 :] for rows in held]
        del held
        more = [take(table, own) for own in ids]
        for own, part, rows in zip(ids, parts, more, strict=True):
            assert rows.dtype == torch.float32 and np.array_equal(rows, table[own].astype(np.float32))
            assert np.array_equal(part, table[own[len(own) // 2 :]].astype(np.float32))
    del parts, more, rows, part
    # Memory that nobody holds is used again.
    assert len({take(table, ids[n]).data_ptr() for n in range(10)}) < 3


def test_ego_graphs_stand_side_by_side():
    batch = next(iter(data(EgoBatches((3, 2), 32)).test_dataloader()))
    assert batch.starts[:-1].tolist() == batch.targets.tolist() and batch.starts[-1] == len(batch.nodes)
    group = torch.bucketize(torch.arange(len(batch.nodes)), batch.starts, right=True)
    source, target = batch.edge_index
    assert torch.equal(group[source], group[target])


def test_sparse_features_stay_sparse():
    random = np.random.default_rng(0)
    words = csr_array((random.random((60, 40)) < 0.1) * np.float32(1))
    graph = Graph.of(random.integers(0, 60, (2, 200)), 60, weights=random.random(200))
    split = Split(*np.split(np.arange(60), [20, 40]))
    nodes = NodeSet(graph, words, random.integers(0, 3, 60), [split], ("a", "b", "c"), accuracy)
    weight = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    for kind in (FullBatch(), Neighbourhoods((2, 2), 8)):
        made = GraphData(Given(nodes), loading=kind, evaluation=kind, scaled=True)
        for batch in made.test_dataloader():
            assert isinstance(batch.x, SparseRows)
            scaled = words.toarray() / np.maximum(words.sum(1), 1)[:, None]
            dense = torch.from_numpy(scaled[batch.nodes].astype(np.float32))
            torch.testing.assert_close(batch.x.dense(), dense)
            torch.testing.assert_close(csr_sum(weight, batch.x.csr, batch.x.values), dense @ weight)
            pairs = {tuple(p): w for p, w in zip(graph.edge_index().T.tolist(), graph.weights.tolist(), strict=True)}
            ends = batch.nodes[batch.edge_index].T.tolist()
            assert batch.weights.tolist() == [pairs[tuple(end)] for end in ends]


def test_preparation_of_the_graph():
    random = np.random.default_rng(0)
    graph = Graph.of(random.integers(0, 30, (2, 100)), 30)
    features = random.random((30, 2), np.float32)
    split = Split(*np.split(np.arange(30), [10, 20]))
    nodes = NodeSet(graph, features, np.arange(30) % 2, [split], ("a", "b"), accuracy)
    made = GraphData(Given(nodes), undirected=True, self_loops=True, scaled=True, encodings=(Degree(), Hops(3)))
    assert made.nodes.graph.symmetric and (made.nodes.graph.targets == made.nodes.graph.neighbours).sum() == 30
    assert made.nodes.features.sum(1) == pytest.approx(1) and made.encoding.shape == (30, 5)
    bare = GraphData(Given(nodes), self_loops=False).nodes.graph
    assert not bare.symmetric and not (bare.targets == bare.neighbours).any()
    assert "given, 30 nodes" in made.describe() and made.width == 2 and made.statistics().nodes == 30


def test_drawn_splits_and_missing_ones():
    source = ContextualSbm(400, splits=2)
    assert not np.array_equal(GraphData(source, split=0).parts.train, GraphData(source, split=1).parts.train)
    with pytest.raises(UserError, match=r"split 2: stochastic block model of 400 nodes has splits 0 .. 1"):
        _ = GraphData(source, split=2).parts
    own = Given(source.load()._replace(splits=[]))
    one, other = GraphData(own, split=5), GraphData(own, split=6)
    assert [len(part) for part in one.parts] == [200, 100, 100]
    assert not np.array_equal(one.parts.train, other.parts.train)
    assert np.array_equal(one.parts.train, GraphData(own, split=5).parts.train)
    hidden = source.load()
    few = Given(hidden._replace(splits=[], labels=np.where(np.arange(400) < 2, hidden.labels, -1)))
    with pytest.raises(UserError, match="2 labelled nodes in shares"):
        _ = GraphData(few).parts
    with pytest.raises(UserError, match="name a table of edges"):
        GraphData()
    with pytest.raises(UserError, match="must not be negative"):
        GraphData(source, split=-1)
    with pytest.raises(UserError, match="parts 900: there are 400 nodes"):
        data(Clusters(900)).train_dataloader()
    with pytest.raises(UserError, match="need a graph with weights"):
        data(Neighbourhoods(weighted=True)).train_dataloader()


def test_a_batch_moves_once_and_pickles():
    batch = next(iter(data(FullBatch()).train_dataloader()))
    moved = move_data_to_device(batch, torch.device("meta"))
    assert moved.x.device.type == moved.csr.offsets.device.type == "meta" and moved.hops is None
    assert move_data_to_device(batch, torch.device("meta")) is moved
    assert move_data_to_device(batch, torch.device("cpu")) is batch
    assert torch.equal(pickle.loads(pickle.dumps(batch)).x, batch.x)


class Mean(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(36, 4)
        self.seen = []

    def training_step(self, batch, _):
        self.seen.append(batch.number)
        full = torch.cat([csr_mean(batch.x, batch.csr), torch.zeros(len(batch.x) - batch.csr.rows, 18)])
        return torch.nn.functional.cross_entropy(self.head(torch.cat([batch.x, full], 1))[batch.targets], batch.y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)


def test_lightning_trains_on_it():
    model = Mean()
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, data(KINDS[1]))
    assert model.seen == list(range(10))


NODES = NodeSet(
    Graph.of(np.array([[0, 1], [1, 2]]), 6), np.ones((6, 2), np.float32), np.array([0, 1, 0, 1, 0, 1]),
    [Split(np.array([0, 1]), np.array([2, 3]), np.array([4, 5]))], ("a", "b"), accuracy,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"features": np.ones((5, 2), np.float32)}, r"features are \(5, 2\), there are 6 nodes"),
        ({"features": np.ones((6, 2), np.int64)}, "features are int64"),
        ({"features": np.array([[1, 2, np.nan, 4, np.inf, 6]]).T}, "2 nodes are NaN or infinite, first .* node 2"),
        ({"features": csr_array(np.diag([1, 1, 1, np.inf, 1, 1]))}, "1 nodes are NaN or infinite, first .* node 3"),
        ({"labels": np.array([0, 1, 0, 1])}, "4 labels and 6 nodes"),
        ({"labels": np.array([0, 1, 0, 1, 2, 0])}, r"node 4 has label 2; labels must be in 0 .. 1"),
        ({"labels": np.array([0, 1, 0, 1, -2, 0])}, "node 4 has label -2"),
        ({"labels": np.array([0, 1, 0, 1, 0.5, 0])}, r"node 4 has label 0.5; labels must be whole"),
        ({"labels": np.array(list("ababab"))}, "must be a whole number a node"),
        ({"labels": np.array([0, 1, 0, 1, -1, -1])}, "no node of test has a label"),
        ({"splits": [NODES.splits[0]._replace(test=np.array([5, 6]))]}, r"split 0: test names node 6; ids"),
        ({"splits": [NODES.splits[0]._replace(test=np.array([1]))]}, "node 1 is in train and in test"),
        ({"splits": [NODES.splits[0]._replace(test=np.array([4, 4]))]}, "test names a node twice"),
        ({"splits": [NODES.splits[0]._replace(test=np.array([4.0]))]}, "must be a list of whole numbers"),
    ],
)  # fmt: skip
def test_sets_with_faults(changes, said):
    with pytest.raises(UserError, match=said):
        _ = GraphData(Given(NODES._replace(**changes))).nodes


def test_unlabelled_nodes_are_in_no_part_and_a_missing_class_is_said():
    labels = np.array([0, np.nan, 0, 1, np.nan, 1])
    with pytest.warns(UserWarning, match="split 0: no node of train is of b"):
        made = checked(NODES._replace(labels=labels), "own")
    assert made.labels.tolist() == [0, -1, 0, 1, -1, 1] and [p.tolist() for p in made.splits[0]] == [[0], [2, 3], [5]]
