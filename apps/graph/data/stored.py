"""A set in a folder of .npy files, opened without reading it: what a graph larger than memory is trained from.

    graph/           offsets, neighbours and so on (see `data.graph`)
    features.npy     (N, F) float32 or float16, or features_{data,indices,indptr}.npy of sparse rows
    labels.npy
    split_<n>_{train,validation,test}.npy
    set.json         written last: the folder is whole

Features and labels are checked when they are written, not again when they are opened.
"""

__all__ = ["Stored", "store"]

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

import numpy as np
from scipy.sparse import csr_array

from apps.graph.metrics import accuracy, mean_roc_auc, roc_auc
from core.errors import UserError

from .checks import checked
from .graph import open_graph
from .items import Features, NodeSet, Source, Split

METRICS = {metric.__name__: metric for metric in (accuracy, roc_auc, mean_roc_auc)}


class Stored(Source):
    """A folder that `store` has written.

    Args:
        path: the folder.
    """

    def __init__(self, path: str):
        self.path = Path(path)
        self.label = self.path.name

    def load(self) -> NodeSet:
        try:
            facts = json.loads((self.path / "set.json").read_text(encoding="utf-8"))
            features: Features
            if facts["sparse"]:
                parts = tuple(self._open(f"features_{name}") for name in ("data", "indices", "indptr"))
                features = csr_array(parts, shape=tuple(facts["sparse"]))
            else:
                features = self._open("features")
            parts_of = ("train", "validation", "test")
            splits = [Split(*(self._open(f"split_{n}_{p}") for p in parts_of)) for n in range(facts["splits"])]
            ids = None if facts["ids"] is None else tuple(facts["ids"])
            labels, metric, classes = self._open("labels"), METRICS[facts["metric"]], tuple(facts["classes"])
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise UserError(f"{self.path}: holds no whole set ({str(error)[:120]}); store it again.") from None
        return NodeSet(open_graph(self.path / "graph"), features, labels, splits, classes, metric, ids, checked=True)

    def _open(self, name: str) -> np.ndarray:
        return np.load(self.path / f"{name}.npy", mmap_mode="r", allow_pickle=False)


def store(nodes: NodeSet, path: str | Path) -> Stored:
    """Write a set; the folder appears whole or not at all.

    Args:
        nodes: whose metric is one of `apps.graph.metrics`.
        path: a folder that is not there yet.

    Raises:
        UserError: the folder is there, or the set has faults.
    """
    nodes = checked(nodes, str(path))
    with whole_folder(Path(path)) as folder:
        nodes.graph.save(folder / "graph")
        sparse = isinstance(nodes.features, csr_array)
        if sparse:
            for name in ("data", "indices", "indptr"):
                np.save(folder / f"features_{name}.npy", getattr(nodes.features, name))
        else:
            np.save(folder / "features.npy", nodes.features)
        write_rest(nodes, folder, tuple(map(int, nodes.features.shape)) if sparse else None)
    return Stored(str(path))


def write_rest(nodes: NodeSet, folder: Path, sparse: tuple[int, ...] | None) -> None:
    """All but the graph and the features, set.json last."""
    np.save(folder / "labels.npy", nodes.labels)
    for n, split in enumerate(nodes.splits):
        for name, ids in split._asdict().items():
            np.save(folder / f"split_{n}_{name}.npy", ids)
    facts = {"splits": len(nodes.splits), "classes": nodes.classes, "metric": nodes.metric.__name__, "sparse": sparse}
    facts |= {"ids": nodes.ids}
    (folder / "set.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to write to, renamed to `path` when the block ends, removed when it fails.

    Raises:
        UserError: `path` is there.
    """
    if path.exists():
        raise UserError(f"{path}: exists already; name another folder or remove it.")
    beside = path.with_name(f".{path.name}.part")
    rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        yield beside
        beside.rename(path)
    finally:
        rmtree(beside, ignore_errors=True)
