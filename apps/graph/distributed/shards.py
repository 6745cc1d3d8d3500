"""A set cut into ranges of nodes: each with the edges into its nodes, their features and labels.

    shards.json                              bounds of the ranges in nodes and in edges, written last
    part_<n>/{offsets,neighbours}.npy        rows of the range; sources are ids of the whole graph
    part_<n>/{features,labels}.npy

A machine needs shards.json and its own part.  Ranges hold about as many nodes and edges together.
"""

__all__ = ["Shard", "open_shard", "write_shards"]

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apps.graph.data.graph import Graph
from apps.graph.data.items import NodeSet
from apps.graph.data.stored import whole_folder
from core.errors import UserError


class Shard(NamedTuple):
    """One range.

    Attributes:
        rank: which.
        bounds: (ranges + 1,) first node of each, and N.
        edges: (ranges + 1,) place of the first edge of each in the whole graph, and E.
        offsets: (n + 1,) int64, edges into its nodes.
        neighbours: their sources, ids of the whole graph.
        features: (n, F).
        labels: (n,) or (n, T).
    """

    rank: int
    bounds: NDArray[np.int64]
    edges: NDArray[np.int64]
    offsets: NDArray[np.int64]
    neighbours: NDArray
    features: NDArray
    labels: NDArray

    @property
    def ranges(self) -> int:
        """How many there are."""
        return len(self.bounds) - 1

    @property
    def first(self) -> int:
        """Id of the first node."""
        return int(self.bounds[self.rank])

    @property
    def nodes(self) -> int:
        """N, of the whole graph."""
        return int(self.bounds[-1])

    def owner(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The range of every node."""
        return np.searchsorted(self.bounds[1:], ids, side="right")


def bounds_of(graph: Graph, ranges: int) -> NDArray[np.int64]:
    """(ranges + 1,) first node of each range of about equal nodes and edges together."""
    cost = graph.offsets + np.arange(graph.nodes + 1)
    inner = np.searchsorted(cost, np.arange(1, ranges) * (cost[-1] / ranges))
    return np.concatenate([[0], inner, [graph.nodes]]).astype(np.int64)


def write_shards(nodes: NodeSet, path: str | Path, ranges: int) -> None:
    """Cut a set whose features are dense.

    Args:
        nodes: may be memory-mapped; one range at a time is read.
        path: a folder that is not there yet.
        ranges: how many.

    Raises:
        UserError: the folder is there, features are sparse, or there are more ranges than nodes.
    """
    graph, path = nodes.graph, Path(path)
    if not isinstance(nodes.features, np.ndarray) or graph.weights is not None or graph.times is not None:
        raise UserError(f"{path}: ranges hold dense features and edges without weights and times; drop the others.")
    if not 1 <= ranges <= graph.nodes:
        raise UserError(f"{path}: {ranges} ranges of {graph.nodes} nodes; take 1 .. {graph.nodes}.")
    graph.check()
    bounds = bounds_of(graph, ranges)
    with whole_folder(path) as folder:
        for n in range(ranges):
            part = folder / f"part_{n}"
            part.mkdir()
            own = slice(int(bounds[n]), int(bounds[n + 1]))
            ends = np.asarray(graph.offsets[own.start : own.stop + 1])
            np.save(part / "offsets.npy", ends - ends[0])
            np.save(part / "neighbours.npy", graph.neighbours[ends[0] : ends[-1]])
            np.save(part / "features.npy", nodes.features[own])
            np.save(part / "labels.npy", nodes.labels[own])
        facts = {"bounds": bounds.tolist(), "edges": graph.offsets[bounds].tolist()}
        (folder / "shards.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")


def open_shard(path: str | Path, rank: int) -> Shard:
    """One range, memory-mapped and checked.

    Raises:
        UserError: the folder does not hold it whole.
    """
    path = Path(path)
    try:
        facts = json.loads((path / "shards.json").read_text(encoding="utf-8"))
        bounds, edges = (np.array(facts[name], np.int64) for name in ("bounds", "edges"))
        if not 0 <= rank < len(bounds) - 1:
            raise UserError(f"{path}: there is no range {rank}, they are 0 .. {len(bounds) - 2}.")
        arrays = {
            name: np.load(path / f"part_{rank}" / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in ("offsets", "neighbours", "features", "labels")
        }
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path}: does not hold range {rank} ({str(error)[:120]}); write it again.") from None
    made = Shard(rank, bounds, edges, **arrays)
    own = int(bounds[rank + 1] - bounds[rank])
    ends, sources = made.offsets, made.neighbours
    whole = len(ends) == own + 1 and ends[0] == 0 and ends[-1] == len(sources) == edges[rank + 1] - edges[rank]
    whole = whole and bool((np.diff(ends) >= 0).all()) and len(made.features) == len(made.labels) == own
    # Compiled loops read what these say.
    if not whole or (len(sources) and (sources.min() < 0 or sources.max() >= made.nodes)):
        raise UserError(f"{path}: arrays of range {rank} contradict each other; write it again.")
    return made
