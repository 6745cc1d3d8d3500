"""The commands end to end on a tiny recipe: a graph in, a class for each node out, errors, going on."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from apps.graph.data.generators import ContextualSbm
from core.training.launch import main


def omnimix(*words):
    """Exit code of `omnimix graph ...` in this process."""
    with pytest.raises(SystemExit) as end:
        main(["graph", *map(str, words)])
    return end.value.code


def weights(run):
    return torch.load(Path("runs/tiny") / run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture
def own(tmp_path):
    """A drawn graph as tables: edges by name, features, names, labels of half of the nodes."""
    nodes = ContextualSbm(60, seed=3).load()
    names = [f"n{i}" for i in range(60)]
    source, target = nodes.graph.edge_index()
    pairs = pd.DataFrame({"source": [names[i] for i in source], "target": [names[i] for i in target]})
    pairs.to_csv(tmp_path / "edges.csv", index=False)
    np.save(tmp_path / "features.npy", nodes.features)
    pd.DataFrame({"id": names}).to_csv(tmp_path / "nodes.csv", index=False)
    known = pd.DataFrame({"id": names, "label": [f"kind {n}" for n in nodes.labels]})
    known.loc[::2, "label"] = None
    known.to_csv(tmp_path / "labels.csv", index=False)
    words = []
    for option, name in (("edges", "edges.csv"), ("features", "features.npy"), ("nodes", "nodes.csv")):
        words += [f"--data.{option}", tmp_path / name]
    return words


def test_fit_evaluate_predict(tiny, own, capsys):
    assert omnimix("fit", "--config", tiny) == 0
    run = Path("runs/tiny/0")
    results = json.loads((run / "results.json").read_text())
    assert results["metrics"]["test"] > 40 and "ridge on 2 hops of features" in results["baselines"]
    page = (run / "report.html").read_text()
    assert "By homophily" in page and "Embeddings" in page and "<script" not in page
    assert len(page) < 3e6
    assert omnimix("evaluate", "--config", tiny, "--ckpt_path", "best") == 0
    assert json.loads((run / "results.json").read_text())["metrics"] == results["metrics"]
    assert omnimix("test", "--config", tiny, "--ckpt_path", "best") == 0

    words = ["predict", "--ckpt_path", run / "checkpoints/best.ckpt", *own, "--out", "found.csv"]
    assert omnimix(*words) == 0
    found = pd.read_csv("found.csv")
    chances = [name for name in found if name.startswith("chance of ")]
    assert list(found["id"]) == [f"n{i}" for i in range(60)] and len(chances) == 4
    assert np.allclose(found[chances].sum(1), 1, atol=1e-5)
    assert (
        found["class"] == [chances[n].removeprefix("chance of ") for n in found[chances].to_numpy().argmax(1)]
    ).all()
    assert omnimix(*words) == 2
    assert "exists already" in capsys.readouterr().err
    assert omnimix(*words, "--overwrite", "true") == 0


def test_training_on_ones_own_graph(tiny, own, tmp_path):
    words = [*own, "--data.labels", tmp_path / "labels.csv", "--trainer.max_epochs", "2"]
    assert omnimix("fit", "--config", tiny, *words) == 0
    results = json.loads(Path("runs/tiny/0/results.json").read_text())
    assert results["data"] == "edges" and np.isfinite(results["metrics"]["test"])
    assert omnimix("predict", "--ckpt_path", "runs/tiny/0/checkpoints/best.ckpt", *own, "--out", "found.csv") == 0
    assert set(pd.read_csv("found.csv")["class"]) <= {f"kind {n}" for n in range(4)}


def test_going_on_ends_as_without_interruption(tiny):
    assert omnimix("fit", "--config", tiny) == 0
    assert omnimix("fit", "--config", tiny, "--trainer.max_epochs", "2") == 0
    assert omnimix("fit", "--config", tiny, "--ckpt_path", "last") == 0
    whole, resumed = weights("0"), weights("1")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole if name.startswith("net."))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--data.edges", "nothing.csv", "--out", "found.csv"], "nothing.csv: not found"),
        (["--out", "found.csv", "--data.edges", "edges.csv"], "the network was trained on 16"),
        (["--out", "found.txt"], "is no .csv"),
        ([], "predict needs --out"),
    ],
)
def test_one_sentence_for_what_cannot_be(tiny, own, tmp_path, capsys, words, sentence):
    assert omnimix("fit", "--config", tiny, "--trainer.max_epochs", "1") == 0
    (tmp_path / "edges.csv").write_text("source,target\n0,1\n1,2\n")
    capsys.readouterr()
    assert omnimix("predict", "--ckpt_path", "runs/tiny/0/checkpoints/best.ckpt", *words) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert not list(tmp_path.glob("found*"))


def test_a_split_that_is_not_there(tiny, capsys):
    assert omnimix("fit", "--config", tiny, "--data.split", "77") == 2
    error = capsys.readouterr().err
    assert "--data.split 77" in error and error.count("\n") == 1
