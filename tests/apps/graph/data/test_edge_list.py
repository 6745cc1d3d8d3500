"""Your own graph in tables: what is read, and the line of what is wrong."""

import numpy as np
import pytest
import scipy.sparse

from apps.graph.data.checks import checked
from apps.graph.data.edge_list import EdgeList
from core.errors import UserError

EDGES = "source,target,weight\n0,1,0.5\n2,1,1\n3,3,2\n"
NAMED = "source, target\nanna,ben\nclara,ben\n"
FEATURES = "id,age,income\nben,1,2\nclara,3,4\nanna,5,6.5\ndan,0,0\n"
LABELS = "id,label,split\nanna,yes,train\nben,no,val\nclara,,test\ndan,yes,test\n"


@pytest.fixture
def files(tmp_path):
    def write(**texts):
        paths = {}
        for name, text in texts.items():
            path = tmp_path / f"{name}.csv"
            path.write_text(text)
            paths[name] = str(path)
        return paths

    return write


def load(paths, **more):
    return checked(EdgeList(**paths, **more).load(), "own")


def test_numbered_nodes(files, tmp_path):
    np.save(tmp_path / "x.npy", np.arange(10.0).reshape(5, 2))
    np.save(tmp_path / "y.npy", np.array([0, 1, -1, 1, 0]))
    given = files(edges=EDGES) | {"features": str(tmp_path / "x.npy"), "labels": str(tmp_path / "y.npy")}
    made = load(given)
    assert made.graph.edge_index().tolist() == [[1, 0, 2, 1, 3], [0, 1, 1, 2, 3]]
    assert made.graph.weights.tolist() == [0.5, 0.5, 1, 1, 2] and made.features.dtype == np.float32
    assert made.labels.tolist() == [0, 1, -1, 1, 0] and made.classes == ("0", "1") and not made.splits
    assert load(given, directed=True).graph.edge_index().tolist() == [[0, 2, 3], [1, 1, 3]]


def test_named_nodes(files):
    made = load(files(edges=NAMED, features=FEATURES, labels=LABELS, nodes="id\nanna\nben\nclara\ndan\n"))
    assert made.ids == ("anna", "ben", "clara", "dan")
    assert made.graph.edge_index().tolist() == [[1, 0, 2, 1], [0, 1, 1, 2]]
    assert made.features.tolist() == [[5, 6.5], [1, 2], [3, 4], [0, 0]]
    assert made.classes == ("no", "yes") and made.labels.tolist() == [1, 0, -1, 1]
    # Clara has no label and is in no part.
    assert [part.tolist() for part in made.splits[0]] == [[0], [1], [3]]


def test_edges_alone_are_enough_to_predict(files):
    made = load(files(edges="0,1\n1,2\n"))
    assert made.graph.nodes == 3 and made.features.shape == (3, 2) and made.labels.tolist() == [-1] * 3
    timed = load(files(edges="source,target,time\n0,1,5\n0,1,7.5\n"))
    assert timed.graph.times.tolist() == [5, 7.5, 5, 7.5]


def test_sparse_features_stay_sparse(files, tmp_path):
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.csr_matrix(np.eye(4)))
    made = load(files(edges=EDGES) | {"features": str(tmp_path / "x.npz")})
    assert isinstance(made.features, scipy.sparse.csr_array) and made.features.nnz == 4


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (
            {"edges": "source,target\n0,1\n1,two\n"},
            r"edges.csv line 3: 'two' in column 2 \(target\) is no whole number",
        ),
        ({"edges": "source,target\n0,1\n1,2,3\n"}, r"edges.csv line 3: has 3 columns, those before 2"),
        ({"edges": "source,target\n0,1\n1,\n"}, r"edges.csv line 3: '' in column 2"),
        ({"edges": "from,target\n0,1\n"}, "edges.csv: has no column source; columns are from, target"),
        ({"edges": "0,1\n1,x\n"}, r"edges.csv line 2: 'x' in column 2 is no whole number"),
        ({"edges": ""}, "edges.csv: is empty"),
        ({"edges": "0\n1\n"}, "has one column"),
        ({"edges": "source,target,weight\n0,1,1\n0,2,-1\n"}, r"edges.csv line 3: weight is -1"),
        ({"edges": "source,target,weight\n0,1,1\n0,2,\n"}, r"edges.csv line 3: weight is nan"),
        (
            {"edges": "0,1\n1,7\n", "features": "a\n1\n2\n3\n"},
            r"edges.csv: Graph: edge 1 goes from 1 to 7; ids must be in 0 .. 2 \(1 edges are out of range\). Numbers",
        ),
        ({"edges": "0,-1\n"}, "goes from 0 to -1"),
        ({"edges": EDGES, "features": "a\n1\nx\n"}, r"features.csv line 3: 'x' in column 1 \(a\) is no number"),
        (
            {"edges": "0,1\n", "features": "a,b\n1,2\n,3\n"},
            "features of 1 nodes are NaN or infinite, first those of node 1",
        ),
        ({"edges": "0,1\n", "features": "id,a\n0,2\n3,3\n"}, "has 2 rows for 4 nodes; node 1 has none"),
        ({"edges": "0,1\n", "features": "id,a\n0,2\n0,3\n"}, "node 0 has two rows"),
        ({"edges": "0,1\n", "features": "id,a\nx,2\n"}, r"features.csv line 2: id 'x' is no number of a node"),
        ({"edges": "0,1\n", "labels": "label\na\n"}, "has 1 labels for 2 nodes"),
        ({"edges": "0,1\n", "labels": "id,label\n5,a\n"}, r"labels.csv line 2: is of node 5, there are 2 nodes"),
        (
            {"edges": "0,1\n", "labels": "labels\na\nb\n"},
            "has no column label; columns are labels. Did you mean labels",
        ),
        ({"edges": "0,1\n", "labels": "label,split\na,train\nb,dev\n"}, r"labels.csv line 3: split 'dev' is none of"),
        ({"edges": "0,1\n", "labels": "label,split\na,train\nb,test\n"}, "validation has no nodes"),
        (
            {"edges": NAMED, "nodes": "id\nanna\nclara\nbenn\n"},
            "names node ben, which the list of nodes has not. Did you mean benn",
        ),
        ({"edges": NAMED, "nodes": "id\nben\nben\n"}, r"nodes.csv line 3: node ben is listed twice"),
        ({"edges": NAMED, "nodes": "name\nben\n"}, "nodes.csv: has no column id"),
    ],
)
def test_what_is_wrong_is_said(files, texts, said):
    with pytest.raises(UserError, match=said):
        load(files(**texts))


def test_files_that_are_missing_or_others(files, tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.csv: not found"):
        load({"edges": str(tmp_path / "nowhere.csv")})
    given = files(edges=EDGES)
    for name in ("x.npy", "x.npz"):
        with pytest.raises(UserError, match=f"{name}: not found"):
            load(given | {"features": str(tmp_path / name)})
        (tmp_path / name).write_bytes(b"nonsense")
        with pytest.raises(UserError, match=f"{name}: is broken"):
            load(given | {"features": str(tmp_path / name)})
    np.save(tmp_path / "short.npy", np.ones((3, 2), np.float32))
    with pytest.raises(UserError, match="edge 2 goes from 3 to 3"):
        load(given | {"features": str(tmp_path / "short.npy")})
    np.save(tmp_path / "y.npy", np.array([0, 1]))
    with pytest.raises(UserError, match="there are 2 labels and 4 nodes"):
        load(given | {"labels": str(tmp_path / "y.npy")})
    np.save(tmp_path / "y.npy", np.array([0, 1.5, 0, 0]))
    with pytest.raises(UserError, match=r"node 1 has label 1.5"):
        load(given | {"labels": str(tmp_path / "y.npy")})
