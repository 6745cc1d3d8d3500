"""A graph in compressed rows: the edges INTO node i are `neighbours[offsets[i]:offsets[i + 1]]`, their sources, rising.

Arrays are numpy's and may be memory-mapped from a folder of .npy files (`save`, `open_graph`), so that worker processes
and a graph larger than memory cost nothing more. Offsets are int64, neighbours int32 below 2^31 nodes. Edges may carry
a weight and a time. Rows are sorted because membership is then a binary search and batches do not depend on the order
of an edge list.

Building goes straight from an edge list to rows (count, fill, sort every row, drop repetitions), O(E) without a sort
of all edges: 62 M undirected edges of 2.4 M nodes take some 15 CPU-seconds and twice the memory of the result.
"""

__all__ = ["Graph", "open_graph"]

import json
import warnings
import zlib
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from core.errors import UserError
from core.ops.csr import Csr

from . import building


class Graph:
    """Nodes and the edges into each.

    Args:
        offsets: (N + 1,) int64.
        neighbours: (E,) int32 or int64, sources of the edges, rising within each row.
        weights: (E,) float32, or None.
        times: (E,) int64 or float64, or None.
        symmetric: every edge is there in both directions, with the same weight.
    """

    def __init__(
        self,
        offsets: NDArray[np.int64],
        neighbours: NDArray,
        weights: NDArray[np.float32] | None = None,
        times: NDArray | None = None,
        symmetric: bool = False,
    ):
        self.offsets, self.neighbours = offsets, neighbours
        self.weights, self.times, self.symmetric = weights, times, symmetric
        self._checked = False

    @classmethod
    def of(
        cls,
        edges: NDArray,
        nodes: int,
        weights: NDArray | None = None,
        times: NDArray | None = None,
        undirected: bool = False,
        keep_duplicates: bool = False,
    ) -> "Graph":
        """The graph of a list of edges.

        Args:
            edges: (2, E) whole numbers, sources above targets.
            nodes: N.
            weights: (E,) of the edges; those of repeated edges are added up.
            times: (E,) of the edges; an edge at two times is two edges.
            undirected: adds the other direction of every edge (a self loop is its own other direction).
            keep_duplicates: repeated edges stay.

        Raises:
            ValueError: edges of another shape or type.
            IndexError: an id out of range; names the first.
        """
        edges = np.asarray(edges)
        if edges.ndim != 2 or edges.shape[0] != 2 or not np.issubdtype(edges.dtype, np.integer):
            raise ValueError(
                f"Graph: edges are {edges.shape} {edges.dtype}; they must be whole numbers of shape (2, E)."
            )
        bad = np.nonzero(((edges < 0) | (edges >= nodes)).any(0))[0] if _outside(edges, nodes) else ()
        if len(bad):
            source, target = edges[:, bad[0]]
            raise IndexError(
                f"Graph: edge {bad[0]} goes from {source} to {target}; ids must be in 0 .. {nodes - 1} "
                f"({len(bad)} edges are out of range)."
            )
        for name, values in (("weights", weights), ("times", times)):
            if values is not None and np.shape(values) != (edges.shape[1],):
                raise ValueError(f"Graph: {name} are {np.shape(values)}, there are {edges.shape[1]} edges.")
        if weights is not None and not np.all(np.asarray(weights) >= 0):
            raise ValueError("Graph: weights must be numbers not below 0.")
        source, target = np.ascontiguousarray(edges[0]), np.ascontiguousarray(edges[1])
        offsets, neighbours, order = building.rows_of(
            source, target, nodes, undirected, weights is not None or times is not None
        )
        made = cls(
            offsets,
            neighbours,
            None if weights is None else np.asarray(weights, np.float32)[order],
            None if times is None else np.asarray(times)[order],
            undirected,
        )
        made._checked = True
        return made if keep_duplicates or times is not None else made.without_duplicates()

    @property
    def nodes(self) -> int:
        """N."""
        return len(self.offsets) - 1

    @property
    def edges(self) -> int:
        """E, every direction counted."""
        return len(self.neighbours)

    @cached_property
    def degrees(self) -> NDArray[np.int64]:
        """(N,) edges into each node."""
        return np.diff(self.offsets)

    @cached_property
    def loops(self) -> bool | None:
        """Whether every node has an edge to itself (True), none has (False), or some have (None)."""
        found = building.has_loop(self.offsets, self.neighbours)
        return True if found.all() else None if found.any() else False

    @cached_property
    def csr(self) -> Csr:
        """The relation for `core.ops.csr`, sharing memory; made once, and with it what it keeps."""
        return Csr(_tensor(self.offsets), _tensor(self.neighbours), self.nodes, self.symmetric)

    @cached_property
    def fingerprint(self) -> int:
        """A number of nodes and edges, to tell whether what was kept on disk belongs to this graph."""
        return zlib.crc32(np.ascontiguousarray(self.neighbours), zlib.crc32(np.ascontiguousarray(self.offsets)))

    @property
    def targets(self) -> NDArray[np.int64]:
        """(E,) target of every edge."""
        return np.repeat(np.arange(self.nodes), self.degrees)

    def edge_index(self) -> NDArray[np.int64]:
        """(2, E), sources above targets."""
        return np.stack([np.asarray(self.neighbours, np.int64), self.targets])

    def transposed(self) -> "Graph":
        """Every edge turned round."""
        if self.symmetric:
            return self
        offsets, neighbours, order = building.rows_of(
            self.targets,
            np.asarray(self.neighbours),
            self.nodes,
            False,
            self.weights is not None or self.times is not None,
        )
        return Graph(offsets, neighbours, _taken(self.weights, order), _taken(self.times, order))

    def undirected(self) -> "Graph":
        """Both directions of every edge, once; weights of the two are added up, and so is nothing that is symmetric."""
        if self.symmetric:
            return self
        return Graph.of(self.edge_index(), self.nodes, self.weights, self.times, undirected=True)

    def without_duplicates(self) -> "Graph":
        """Every edge once, with the sum of its weights and its first time."""
        if self.weights is None and self.times is None:
            offsets, neighbours = building.squeezed(self.offsets, self.neighbours)
            return self if len(neighbours) == self.edges else Graph(offsets, neighbours, symmetric=self.symmetric)
        keep = building.firsts(self.offsets, self.neighbours)
        if keep.all():
            return self
        weights = self.weights
        if weights is not None:
            weights = np.add.reduceat(weights.astype(np.float64), np.nonzero(keep)[0]).astype(np.float32)
        return self._where(keep, weights)

    def without_loops(self) -> "Graph":
        """No edge from a node to itself."""
        keep = self.neighbours != self.targets
        return self if keep.all() else self._where(keep, None if self.weights is None else self.weights[keep])

    def with_loops(self) -> "Graph":
        """One edge from every node to itself; where there is one it stays as it is, a new one has weight 1."""
        rows = np.arange(self.nodes)
        missing = rows[~building.has_loop(self.offsets, self.neighbours)]
        if not len(missing):
            return self
        if self.times is not None:
            raise ValueError("Graph: edges have times, which a self loop has none of; add loops to a graph without.")
        edges = np.concatenate([self.edge_index(), np.stack([missing, missing])], 1)
        weights = self.weights
        if weights is not None:
            weights = np.concatenate([weights, np.ones(len(missing), np.float32)])
        made = Graph.of(edges, self.nodes, weights, keep_duplicates=True)
        made.symmetric = self.symmetric
        return made

    def _where(self, keep: NDArray[np.bool_], weights: NDArray | None) -> "Graph":
        ends = np.concatenate([[0], np.cumsum(keep)])
        times = None if self.times is None else self.times[keep]
        return Graph(ends[self.offsets], self.neighbours[keep], weights, times, self.symmetric)

    def check(self) -> None:
        """Raises UserError where the arrays contradict each other; compiled loops would read outside of them.

        They are looked at once; what draws from a graph calls this.
        """
        if self._checked:
            return
        problem = building.first_fault(np.asarray(self.offsets), np.asarray(self.neighbours))
        if problem:
            raise UserError(f"graph: {problem}")
        for name, values in (("weights", self.weights), ("times", self.times)):
            if values is not None and len(values) != self.edges:
                raise UserError(f"graph: there are {len(values)} {name} and {self.edges} edges; write both again.")
        source, target = building.first_one_way(self.offsets, self.neighbours) if self.symmetric else (-1, -1)
        if source >= 0:
            raise UserError(
                f"graph: is said to have both directions of every edge, one of {source} and {target} is missing; "
                "make them with undirected()."
            )
        self._checked = True

    def save(self, folder: str | Path) -> None:
        """Files offsets.npy, neighbours.npy and so on; graph.json, written last, says that all are there."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "graph.json").unlink(missing_ok=True)
        arrays = {n: getattr(self, n) for n in ("offsets", "neighbours", "weights", "times")}
        for name, values in arrays.items():
            if values is not None:
                np.save(folder / f"{name}.npy", values)
        facts = {"nodes": self.nodes, "edges": self.edges, "symmetric": self.symmetric}
        facts |= {"arrays": [n for n, values in arrays.items() if values is not None]}
        (folder / "graph.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")

    def __repr__(self) -> str:
        return f"Graph({self.nodes} nodes, {self.edges} edges)"


def open_graph(folder: str | Path) -> Graph:
    """A saved graph, memory-mapped and checked.

    Raises:
        UserError: the folder holds no whole graph.
    """
    folder = Path(folder)
    try:
        facts = json.loads((folder / "graph.json").read_text(encoding="utf-8"))
        arrays = {n: np.load(folder / f"{n}.npy", mmap_mode="r", allow_pickle=False) for n in facts["arrays"]}
        graph = Graph(
            arrays["offsets"], arrays["neighbours"], arrays.get("weights"), arrays.get("times"), facts["symmetric"]
        )
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{folder}: holds no whole graph ({str(error)[:120]}); write it again with save.") from None
    graph.check()
    return graph


def _outside(edges: NDArray, nodes: int) -> bool:
    return edges.size > 0 and (edges.min() < 0 or edges.max() >= nodes)


def _taken(values: NDArray | None, order: NDArray) -> NDArray | None:
    return None if values is None else values[order]


def _tensor(values: NDArray) -> torch.Tensor:
    """Sharing memory, that of a read-only file too: nothing here writes to it, so torch need not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(np.asarray(values))
