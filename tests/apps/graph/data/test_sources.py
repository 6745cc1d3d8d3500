"""Sources: official files as published, small ones written here in the same layouts, and what is wrong with a file."""

import gzip
import os
import pickle
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

from apps.graph.data.checks import checked
from apps.graph.data.generators import ContextualSbm, PowerLaw
from apps.graph.data.gnn_benchmark import GnnBenchmark
from apps.graph.data.heterophilous import Heterophilous
from apps.graph.data.ogb import OgbNodes
from apps.graph.data.planetoid import Planetoid
from apps.graph.data.stored import Stored, store
from apps.graph.metrics import accuracy, mean_roc_auc, roc_auc
from apps.graph.statistics import alike, statistics
from core.errors import UserError

official = pytest.mark.skipif(
    not (Path(os.environ.get("OMNIMIX_DATA") or "data") / "graph" / "planetoid").is_dir(),
    reason="the official files are not below $OMNIMIX_DATA",
)


@official
@pytest.mark.parametrize(
    ("name", "nodes", "edges", "features", "classes", "parts"),
    [("cora", 2708, 10556, 1433, 7, [140, 500, 1000]), ("citeseer", 3327, 9104, 3703, 6, [120, 500, 1000])],
)
def test_planetoid_is_what_the_papers_count(name, nodes, edges, features, classes, parts):
    made = checked(Planetoid(name).load(), name)
    assert (made.graph.nodes, made.graph.edges, made.tasks) == (nodes, edges, classes)
    assert made.features.shape == (nodes, features) and isinstance(made.features, scipy.sparse.csr_array)
    assert [len(part) for part in made.splits[0]] == parts
    train = made.labels[made.splits[0].train]
    assert np.bincount(train).tolist() == [20] * classes
    assert (made.labels < 0).sum() == (15 if name == "citeseer" else 0)


@official
def test_cora_of_both_origins_is_the_same_graph():
    a, b = Planetoid("cora").load(), GnnBenchmark("cora").load()
    assert sorted(a.graph.degrees) == sorted(b.graph.degrees) and b.features.nnz == 49216
    mine, theirs = (statistics(s.graph, s.labels) for s in (a, b))
    assert mine == pytest.approx(theirs) and mine.edge_homophily == pytest.approx(0.81, abs=0.001)
    assert b.ids is not None and len(set(b.ids)) == 2708


@official
@pytest.mark.parametrize(
    ("name", "nodes", "edges", "largest", "parts", "metric"),
    [
        ("minesweeper", 10000, 39402, 8, [5000, 2500, 2500], roc_auc),
        ("tolokers", 11758, 519000, 2138, [5879, 2939, 2940], roc_auc),
        ("chameleon_filtered", 890, 8854, 247, [409, 287, 194], accuracy),
        ("squirrel_filtered", 2223, 46998, 693, [1053, 718, 452], accuracy),
    ],
)
def test_heterophilous_sets(name, nodes, edges, largest, parts, metric):
    made = checked(Heterophilous(name).load(), name)
    assert (made.graph.nodes, made.graph.edges, made.graph.degrees.max()) == (nodes, 2 * edges, largest)
    assert len(made.splits) == 10 and [len(part) for part in made.splits[0]] == parts and made.metric is metric


@official
def test_homophily_of_minesweeper_is_the_published_one():
    """0.68 and 0.01 adjusted, table 1 of the paper."""
    made = Heterophilous("minesweeper").load()
    found = statistics(made.graph, made.labels)
    assert found.edge_homophily == pytest.approx(0.68, abs=0.005)
    assert found.adjusted_homophily == pytest.approx(0.01, abs=0.005)


def planetoid(folder, **changes):
    """Five nodes; node 3 is in the range of the test index but not listed."""
    x = scipy.sparse.csr_matrix(np.array([[1.0, 0], [0, 1]]))
    parts = {
        "x": x[:1], "allx": x, "tx": scipy.sparse.csr_matrix(np.array([[0.0, 4], [3, 0]])),
        "y": np.array([[1, 0]]), "ally": np.array([[1, 0], [0, 1]]), "ty": np.array([[0, 1], [1, 0]]),
        "graph": defaultdict(list, {0: [1, 1, 0], 1: [4], 4: [2], 3: []}),
    } | changes  # fmt: skip
    for name, value in parts.items():
        (folder / f"ind.cora.{name}").write_bytes(pickle.dumps(value, protocol=2))
    (folder / "ind.cora.test.index").write_text("4\n2\n")
    return Planetoid("cora", str(folder))


def test_planetoid_places_rows_by_their_index(tmp_path, monkeypatch):
    monkeypatch.setattr("apps.graph.data.planetoid.VALIDATION", 1)
    made = planetoid(tmp_path).load()
    assert made.features.toarray().tolist() == [[1, 0], [0, 1], [3, 0], [0, 0], [0, 4]]
    assert made.labels.tolist() == [0, 1, 0, -1, 1]
    assert [part.tolist() for part in made.splits[0]] == [[0], [1], [2, 4]]
    assert sorted(map(tuple, made.graph.edge_index().T.tolist())) == [(0, 1), (1, 0), (1, 4), (2, 4), (4, 1), (4, 2)]


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("made-by-a-pickle",)


def test_planetoid_runs_nothing(tmp_path):
    with pytest.raises(UserError, match=r"ind.cora.graph: is broken or another file \(it wants to make"):
        planetoid(tmp_path, graph=Harmful()).load()
    (tmp_path / "ind.cora.tx").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"ind.cora.tx: is broken"):
        Planetoid("cora", str(tmp_path)).load()
    (tmp_path / "ind.cora.tx").unlink()
    with pytest.raises(UserError, match=r"ind.cora.tx: not found; get the folder data of https"):
        Planetoid("cora", str(tmp_path)).load()
    with pytest.raises(UserError, match=r"there is no coro; choose of cora, citeseer, pubmed. Did you mean cora"):
        Planetoid("coro")


def heterophilous(folder, name="own", **changes):
    masks = np.zeros((2, 6), bool)
    masks[0, :2] = masks[1, 2:4] = True
    arrays = {
        "node_features": np.eye(6, 3), "node_labels": np.array([0, 1, 2, 0, 1, 2]),
        "edges": np.array([[0, 1], [4, 2]]), "train_masks": masks, "val_masks": np.roll(masks, 2, 1),
        "test_masks": np.roll(masks, 4, 1),
    } | changes  # fmt: skip
    np.savez(folder / f"{name}.npz", **arrays)
    return Heterophilous(name, str(folder))


def test_heterophilous_files(tmp_path):
    made = heterophilous(tmp_path).load()
    assert made.graph.edges == 4 and made.features.dtype == np.float32 and len(made.splits) == 2
    assert [part.tolist() for part in made.splits[1]] == [[2, 3], [4, 5], [0, 1]]
    directed = heterophilous(tmp_path, "own_directed").load()
    assert directed.graph.edge_index().tolist() == [[0, 4], [1, 2]]
    across = heterophilous(tmp_path, **{n: np.load(tmp_path / "own.npz")[n].T for n in ("train_masks",)}).load()
    assert across.splits[1].train.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_masks": np.ones((2, 5), bool)}, "the mask of train is .2, 5. bool; it must be true or false for each"),
        ({"val_masks": np.ones((2, 6), bool)}, "is in train and in validation; keep it in one"),
        ({"test_masks": np.zeros((2, 6), bool)}, "test has no nodes"),
        ({"test_masks": np.ones((3, 6), bool)}, "for 2, 2, 3 splits"),
        ({"node_features": np.array([None])}, "is broken or another file"),
    ],
)
def test_heterophilous_files_with_faults(tmp_path, changes, said):
    with pytest.raises(UserError, match=said):
        heterophilous(tmp_path, **changes).load()


def packed(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") as file:
        file.write(text)


def ogb(folder, raw=True, edges="0,1\n2,1\n3,3\n0,1\n"):
    if raw:
        packed(folder / "raw" / "edge.csv.gz", edges)
        packed(folder / "raw" / "node-feat.csv.gz", "0.5,1\n1,1\n2,1\n3,1\n4,1\n")
        packed(folder / "raw" / "node-label.csv.gz", "0\n1\n1.0\nnan\n1\n")
        packed(folder / "raw" / "num-node-list.csv.gz", "5\n")
    for part, ids in (("train", "0\n1\n"), ("valid", "2\n"), ("test", "3\n4\n")):
        packed(folder / "split" / "time" / f"{part}.csv.gz", ids)


def same(a, b):
    assert np.array_equal(a.graph.offsets, b.graph.offsets) and np.array_equal(a.graph.neighbours, b.graph.neighbours)
    assert np.array_equal(a.features, b.features) and np.array_equal(a.labels, b.labels)
    assert all(np.array_equal(x, y) for x, y in zip(a.splits[0], b.splits[0], strict=True))
    assert a.classes == b.classes and a.metric is b.metric


def test_ogb_tables_and_what_is_kept_of_them(tmp_path):
    ogb(tmp_path)
    fresh = checked(OgbNodes("own", str(tmp_path), keep=False).load(), "own")
    assert fresh.graph.edge_index().tolist() == [[0, 0, 2, 3], [1, 1, 1, 3]]
    assert fresh.labels.tolist() == [0, 1, 1, -1, 1] and fresh.splits[0].test.tolist() == [4]
    assert not (tmp_path / "stored").exists()
    first, second = (OgbNodes("own", str(tmp_path)).load() for _ in range(2))
    for kept in (first, second):
        same(fresh, kept)
        assert isinstance(kept.features, np.memmap) and isinstance(kept.graph.neighbours, np.memmap)
    both = OgbNodes("own", str(tmp_path), undirected=True).load()
    assert both.graph.symmetric and both.graph.edges == 7


def test_ogb_archives_and_processed_files(tmp_path):
    ogb(tmp_path / "a")
    expected = checked(OgbNodes("own", str(tmp_path / "a"), keep=False).load(), "own")
    ogb(tmp_path / "b", raw=False)
    (tmp_path / "b" / "raw").mkdir()
    edges = np.array([[0, 2, 3, 0], [1, 1, 3, 1]])
    np.savez_compressed(
        tmp_path / "b" / "raw" / "data.npz", edge_index=edges, node_feat=np.asarray(expected.features),
        num_nodes_list=np.array([5]), num_edges_list=np.array([4]),
    )  # fmt: skip
    labels = np.array([[0], [1], [1], [np.nan], [1]], np.float32)
    np.savez_compressed(tmp_path / "b" / "raw" / "node-label.npz", node_label=labels)
    for keep in (False, True):
        same(expected, checked(OgbNodes("own", str(tmp_path / "b"), keep=keep).load(), "own"))
    assert not list((tmp_path / "b").rglob(".*"))
    data = pytest.importorskip("torch_geometric.data")
    ogb(tmp_path / "c", raw=False)
    (tmp_path / "c" / "processed").mkdir()
    made = data.Data(
        x=torch.from_numpy(np.array(expected.features)), y=torch.from_numpy(labels), edge_index=torch.from_numpy(edges)
    )
    torch.save((made, None), tmp_path / "c" / "processed" / "geometric_data_processed.pt")
    same(expected, checked(OgbNodes("own", str(tmp_path / "c"), keep=False).load(), "own"))
    torch.save(Harmful(), tmp_path / "c" / "processed" / "geometric_data_processed.pt")
    with pytest.raises(UserError, match="cannot be read as PyG's data"):
        OgbNodes("own", str(tmp_path / "c")).load()
    # A reading that fails leaves no folder behind.
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["processed", "split"]


def test_ogb_several_tasks_and_bad_files(tmp_path):
    ogb(tmp_path)
    packed(tmp_path / "raw" / "node-label.csv.gz", "0,1\n1,1\n0,0\nnan,1\n1,0\n")
    made = checked(OgbNodes("own", str(tmp_path), keep=False).load(), "own")
    assert made.metric is mean_roc_auc and made.tasks == 2 and np.isnan(made.labels[3, 0])
    ogb(tmp_path, edges="0,1\n2,x\n")
    with pytest.raises(UserError, match=r"edge.csv.gz line 2: 'x' in column 2 is no whole number"):
        OgbNodes("own", str(tmp_path), keep=False).load()
    ogb(tmp_path, edges="0,1\n2,5\n")
    with pytest.raises(UserError, match=r"raw: Graph: edge 1 goes from 2 to 5; ids must be in 0 .. 4"):
        OgbNodes("own", str(tmp_path), keep=False).load()
    ogb(tmp_path)
    with pytest.raises(UserError, match="has splits time; name one"):
        OgbNodes("own", str(tmp_path), keep=False, scheme="sales").load()
    packed(tmp_path / "split" / "time" / "train.csv.gz", "0\n7\n")
    with pytest.raises(UserError, match=r"train names node 7; ids must be in 0 .. 4"):
        OgbNodes("own", str(tmp_path), keep=False).load()
    (tmp_path / "raw" / "edge.csv.gz").write_bytes(b"not packed")
    with pytest.raises(UserError, match=r"edge.csv.gz: cannot be read"):
        OgbNodes("own", str(tmp_path), keep=False).load()
    with pytest.raises(UserError, match=r"ogbn_arxiv: not found; get ogbn-arxiv from https"):
        OgbNodes(path=str(tmp_path / "ogbn_arxiv")).load()


def gnn_benchmark(folder, **changes):
    links = scipy.sparse.csr_matrix(np.array([[0, 1, 0], [0, 0, 0], [1, 0, 0]], np.float32))
    words = scipy.sparse.csr_matrix(np.array([[0, 2], [0, 0], [1, 0]], np.float32))
    arrays = {"labels": np.array([0, 1, 1], np.int8), "class_names": np.array(["a", "b"])}
    arrays |= {"node_names": np.array(["x", "y", "z"])}
    for kind, matrix in (("adj", links), ("attr", words)):
        arrays |= {f"{kind}_{n}": getattr(matrix, n) for n in ("data", "indices", "indptr")}
        arrays[f"{kind}_shape"] = np.array(matrix.shape)
    np.savez(folder / "own.npz", **(arrays | changes))
    return GnnBenchmark("own", str(folder))


def test_gnn_benchmark_files(tmp_path):
    made = gnn_benchmark(tmp_path).load()
    assert made.graph.edge_index().tolist() == [[1, 2, 0, 0], [0, 0, 1, 2]] and made.classes == ("a", "b")
    assert made.features.toarray().tolist() == [[0, 2], [0, 0], [1, 0]] and made.labels.tolist() == [0, 1, 1]
    with pytest.raises(UserError, match=r"own\.npz"):
        gnn_benchmark(tmp_path, adj_indptr=np.array([0, 9, 9, 9])).load()
    (tmp_path / "own.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"own.npz: is broken"):
        GnnBenchmark("own", str(tmp_path)).load()


def test_a_stored_set_is_the_same(tmp_path):
    drawn = ContextualSbm(200, splits=2).load()
    sparse = gnn_benchmark(tmp_path).load()
    for n, made in enumerate((drawn, sparse)):
        kept = store(made, tmp_path / f"set{n}").load()
        assert np.array_equal(kept.labels, made.labels) and kept.classes == made.classes and kept.ids == made.ids
        assert np.array_equal(kept.graph.neighbours, made.graph.neighbours) and kept.metric is made.metric
        assert len(kept.splits) == len(made.splits) and kept.checked
    assert np.array_equal(kept.features.toarray(), sparse.features.toarray())
    with pytest.raises(UserError, match="exists already"):
        store(drawn, tmp_path / "set0")
    with pytest.raises(UserError, match="NaN or infinite"):
        store(drawn._replace(features=np.full((200, 2), np.nan, np.float32)), tmp_path / "other")
    (tmp_path / "set0" / "set.json").unlink()
    with pytest.raises(UserError, match="holds no whole set"):
        Stored(str(tmp_path / "set0")).load()
    assert not (tmp_path / "other").exists() and zipfile.is_zipfile(tmp_path / "own.npz")


def test_drawn_graphs_are_what_was_asked_for():
    made = checked(PowerLaw(5000, 40_000, classes=4, homophily=0.7, splits=2).load(), "drawn")
    found = statistics(made.graph, made.labels)
    assert found.edge_homophily == pytest.approx(0.7, abs=0.01) and found.loops == 0
    assert found.adjusted_homophily == pytest.approx((0.7 - 0.25) / 0.75, abs=0.02)
    assert np.bincount(made.labels).tolist() == [1250] * 4
    assert found.largest_degree > 15 * found.mean_degree
    again = PowerLaw(5000, 40_000, classes=4, homophily=0.7, splits=2).load()
    assert np.array_equal(made.graph.neighbours, again.graph.neighbours)
    assert np.array_equal(made.features, again.features)
    other = PowerLaw(5000, 40_000, classes=4, homophily=0.7, seed=1).load()
    assert not np.array_equal(made.graph.offsets, other.graph.offsets)
    assert not np.array_equal(made.splits[0].train, made.splits[1].train)


def test_nodes_of_a_block_model_are_alike():
    made = ContextualSbm(4000, degree=12, homophily=0.3, signal=2.0).load()
    degrees = made.graph.degrees
    # Poisson: the variance is the mean.
    assert degrees.mean() == pytest.approx(12, abs=0.2) and degrees.var() == pytest.approx(12, rel=0.1)
    means = np.stack([made.features[made.labels == n].mean(0) for n in range(4)])
    assert np.linalg.norm(means, axis=1) == pytest.approx(2, abs=0.2)
    assert (made.features - means[made.labels]).std() == pytest.approx(1, abs=0.02)


def test_a_power_law_has_its_exponent():
    """Number of nodes with a degree of k or more falls as k^(1 - exponent)."""
    degrees = np.sort(PowerLaw(100_000, 1_000_000, classes=2, exponent=2.5).load().graph.degrees)[::-1]
    ranks = np.array([50, 500, 5000])
    slopes = np.diff(np.log(ranks)) / np.diff(np.log(degrees[ranks]))
    assert slopes == pytest.approx(-1.5, abs=0.15)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"nodes": 5}, "at least twice"), ({"homophily": 1.5}, "homophily 1.5"), ({"exponent": 2.0}, "exponent 2")],
)
def test_graphs_that_cannot_be_drawn(options, said):
    with pytest.raises(UserError, match=said):
        PowerLaw(**options)


def test_homophily_by_its_definitions():
    from apps.graph.data.graph import Graph

    # A triangle of classes 0 0 1 with a tail of 1 and an unlabelled node, a self loop and an isolated node.
    graph = Graph.of(np.array([[0, 1, 2, 2, 3, 0], [1, 2, 0, 3, 4, 0]]), 6)
    labels = np.array([0, 0, 1, 1, -1, 0])
    found = statistics(graph, labels)
    assert (found.nodes, found.edges, found.loops, found.isolated, found.largest_degree) == (6, 5, 1, 1, 3)
    assert found.edge_homophily == 2 / 4
    share = alike(graph, labels)
    assert share[:4].tolist() == [1 / 2, 1 / 2, 1 / 3, 1] and np.isnan(share[4:]).all()
    assert found.node_homophily == pytest.approx((1 / 2 + 1 / 2 + 1 / 3 + 1) / 4)
    chance = (4 / 8) ** 2 * 2
    assert found.adjusted_homophily == pytest.approx((0.5 - chance) / (1 - chance))
    assert np.isnan(statistics(graph, np.full(6, -1)).edge_homophily)
