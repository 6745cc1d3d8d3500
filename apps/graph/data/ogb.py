"""Node-property sets of the Open Graph Benchmark (Hu et al. 2020) as its archives hold them: `<name>/raw` and
`<name>/split/<scheme>/{train,valid,test}.csv.gz`, without the package.

    raw/edge.csv.gz, node-feat.csv.gz, node-label.csv.gz, num-node-list.csv.gz          tables without a header
    raw/data.npz (edge_index, node_feat, num_nodes_list), node-label.npz                ogbn-papers100M
    processed/geometric_data_processed.pt                                               where only that is there

ogbn-products and ogbn-proteins store each edge once: both directions are made. The others are directed and stay so;
rows hold edges into a node, so in ogbn-arxiv a node sees the papers that cite it unless `undirected` is set. An edge
that is stored twice stays twice, as in OGB's readers; a self loop gets no other direction.

The first reading writes the folder `<name>/stored` of memory-mapped arrays, which later ones open at once. Features of
a .npz are copied from the archive to their file without passing through memory.
"""

__all__ = ["OgbNodes"]

import zipfile
from pathlib import Path
from shutil import copyfileobj
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from apps.graph.metrics import accuracy, mean_roc_auc
from core.errors import UserError

from .checks import checked
from .graph import Graph
from .items import Features, NodeSet, Source
from .public import data_folder, must_exist, read_arrays
from .splits import check_split
from .stored import Stored, whole_folder, write_rest
from .tables import read_numbers

BOTH = ("ogbn-products", "ogbn-proteins")


class OgbNodes(Source):
    """One of the sets, or another in the same form.

    Args:
        name: ogbn-arxiv, ogbn-products, ogbn-papers100M, ...
        path: the folder of the set; `graph/<name>`, - as _, below $OMNIMIX_DATA or `data` by default.
        undirected: makes both directions of every edge; None does where OGB does.
        scheme: of the split; the only one there is by default.
        keep: writes the folder `stored` beside raw, and reads it where it is.
    """

    def __init__(
        self,
        name: str = "ogbn-arxiv",
        path: str | None = None,
        undirected: bool | None = None,
        scheme: str | None = None,
        keep: bool = True,
    ):
        self.path, self.label, self.scheme, self.keep = data_folder(name.replace("-", "_"), path), name, scheme, keep
        self.undirected = name in BOTH if undirected is None else undirected

    @property
    def stored(self) -> Path:
        """Where the arrays are kept; another folder for each way of reading the edges."""
        return self.path / ("stored_undirected" if self.undirected else "stored")

    def load(self) -> NodeSet:
        if self.keep and self.stored.is_dir():
            return Stored(str(self.stored)).load()
        must_exist(self.path, f"{self.label} from https://ogb.stanford.edu")
        if not self.keep:
            return self._read(None)
        with whole_folder(self.stored) as folder:
            nodes = checked(self._read(folder), str(self.path))
            nodes.graph.save(folder / "graph")
            if not (folder / "features.npy").exists():
                np.save(folder / "features.npy", nodes.features)
            write_rest(nodes, folder, None)
            # An open file keeps what is renamed.
            del nodes
        return Stored(str(self.stored)).load()

    def _read(self, folder: Path | None) -> NodeSet:
        raw, features = self.path / "raw", None
        if (raw / "data.npz").is_file():
            edges, features, labels, count = self._binary(raw, folder)
        elif (raw / "edge.csv.gz").is_file():
            edges = read_numbers(raw / "edge.csv.gz", np.int64).T
            features = read_numbers(raw / "node-feat.csv.gz", np.float32)
            labels = read_numbers(raw / "node-label.csv.gz", np.float32)
            count = int(read_numbers(raw / "num-node-list.csv.gz", np.int64)[0, 0])
        else:
            edges, features, labels, count = self._processed()
        try:
            graph = Graph.of(edges, count, undirected=self.undirected, keep_duplicates=True)
        except (IndexError, ValueError) as error:
            raise UserError(f"{raw}: {error}") from None
        train, valid, test = (
            read_numbers(self._split() / f"{p}.csv.gz", np.int64)[:, 0] for p in ("train", "valid", "test")
        )
        split = check_split((train, valid, test), count, str(self._split()))
        if labels.ndim == 2 and labels.shape[1] > 1:
            classes, metric = tuple(f"task {n}" for n in range(labels.shape[1])), mean_roc_auc
        else:
            labels, metric = np.where(np.isnan(labels), -1, labels).astype(np.int64).reshape(count), accuracy
            classes = tuple(str(n) for n in range(int(labels.max()) + 1))
        return NodeSet(graph, features, labels, [split], classes, metric)

    def _split(self) -> Path:
        folder = must_exist(self.path / "split", f"{self.label} from https://ogb.stanford.edu")
        schemes = sorted(p.name for p in folder.iterdir() if p.is_dir())
        if (self.scheme is None and len(schemes) != 1) or (self.scheme is not None and self.scheme not in schemes):
            raise UserError(f"{folder}: has splits {', '.join(schemes) or 'none'}; name one with scheme.")
        return folder / (self.scheme or schemes[0])

    def _binary(self, raw: Path, folder: Path | None) -> tuple[NDArray, Features, NDArray, int]:
        path, record = raw / "data.npz", "the archive again"
        labels = read_arrays(raw / "node-label.npz", ("node_label",), record)["node_label"]
        count = int(read_arrays(path, ("num_nodes_list",), record)["num_nodes_list"].sum())
        if folder is None:
            arrays = read_arrays(path, ("edge_index", "node_feat"), record)
            return arrays["edge_index"], arrays["node_feat"], labels, count
        try:
            with zipfile.ZipFile(path) as archive:
                for member, name in (("node_feat", "features"), ("edge_index", ".edges")):
                    with archive.open(f"{member}.npy") as source, (folder / f"{name}.npy").open("wb") as target:
                        copyfileobj(source, target, 1 << 24)
            edges, features = (
                np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in (".edges", "features")
            )
        except (zipfile.BadZipFile, KeyError, OSError, ValueError) as error:
            raise UserError(f"{path}: is broken or another file ({str(error)[:120]}); copy it again.") from None
        (folder / ".edges.npy").unlink()
        return edges, features, labels, count

    def _processed(self) -> tuple[NDArray, Features, NDArray, int]:
        path = must_exist(
            self.path / "processed" / "geometric_data_processed.pt", f"{self.label} from https://ogb.stanford.edu"
        )
        from torch_geometric.data import data as classes
        from torch_geometric.data import storage

        known = [classes.Data, classes.DataEdgeAttr, classes.DataTensorAttr, storage.GlobalStorage]
        try:
            with torch.serialization.safe_globals(known):
                stored: Any = torch.load(path, map_location="cpu", weights_only=True)
            data = stored[0] if isinstance(stored, tuple | list) else stored
            count = int(data.num_nodes)
            return data.edge_index.numpy(), data.x.numpy(), data.y.float().numpy(), count
        except Exception as error:
            raise UserError(
                f"{path}: cannot be read as PyG's data ({str(error)[:120]}); keep the folder raw beside it."
            ) from None
