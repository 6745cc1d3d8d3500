"""LargeGT's tokens (Dwivedi et al. 2023, arXiv 2312.11109): a node itself and K - 1 others within two hops of it, drawn
without the square of the adjacency matrix.

    pool of i   the edges into i, and once each node that two edges lead from to i: one multiset, so that a node at both
                distances has two chances, and i itself one where an edge goes back and forth
    |pool| >= K - 1       K - 1 of it, each set equally likely
    0 < |pool| < K - 1    all of it again and again, in order, cut to K - 1
    |pool| = 0            K - 1 different nodes of the whole graph (any, where it has fewer)

The law is the release's; there the pool is a row of A beside one of A A, whose entries are billions for a graph of two
million nodes.  Here the pool is collected by marking nodes (`marks`), or, where more than some thousand paths lead to a
node, drawn from by chance: a uniform path is kept if no path through an earlier neighbour has the same end, which makes
every node of the pool equally likely.  After as much work as collecting would have been it collects after all; that is
decided by how many draws failed and not by what was drawn, so that it changes no chance.  Cost: paths of two edges, at
most some thousand times K a node, whatever the hubs.

Equal tokens are told once, with how often they occur (`LargeGT` takes counts and gives the same result), except that
the node's own, the first, stays alone: what reads the others must find it among them where it was drawn.

What is drawn is a function of (seed, key, node) alone.
"""

__all__ = ["Drawn", "TokenSampler", "TokenTable"]

import json
import threading
from pathlib import Path
from shutil import rmtree
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apps.graph.compiled import key_of
from apps.graph.data.graph import Graph
from apps.graph.sampling import token_kernels
from apps.graph.sampling.neighbours import check_ids
from core.errors import UserError

# Nodes of a table that are drawn at a time.
CHUNK = 1 << 15


class Drawn(NamedTuple):
    """Tokens of S nodes, equal ones once.

    Attributes:
        tokens: (S, K) ids, the node itself first, the others as they were met; 0 where there are no more.
        counts: (S, K) int16, how many equal tokens each stands for; 0 where there are no more.
    """

    tokens: NDArray
    counts: NDArray[np.int16]


class TokenSampler:
    """Draws tokens.

    Args:
        graph: of any origin; it is checked here, once. Tokens are sources of edges.
        count: K, the node itself among them.
        seed: of the draws.
    """

    def __init__(self, graph: Graph, count: int, seed: int = 0):
        if not 2 <= count < 2**15:
            raise ValueError(f"TokenSampler: count {count} must be in 2 .. {2**15 - 1}, the node itself among them.")
        graph.check()
        self.graph, self.count, self.seed = graph, count, seed
        self._back = graph if graph.symmetric else graph.transposed()
        self._own = threading.local()

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "_own"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._own = threading.local()

    def marks(self) -> NDArray[np.int32]:
        """(N,) -1, of this thread; kernels leave it so."""
        if not hasattr(self._own, "marks"):
            self._own.marks = np.full(self.graph.nodes, -1, np.int32)
        return self._own.marks

    def draw(self, nodes: NDArray[np.int64], key: int = 0) -> Drawn:
        """Tokens of some nodes.

        Args:
            nodes: (S,) ids, any number of times.
            key: another one draws anew.

        Raises:
            IndexError: an id out of range.
        """
        nodes, graph = check_ids(nodes, self.graph.nodes, "node"), self.graph
        made = self.empty(len(nodes))
        token_kernels.draw(
            graph.offsets,
            graph.neighbours,
            self._back.offsets,
            self._back.neighbours,
            nodes,
            np.uint64(key_of(self.seed, key)),
            self.marks(),
            *made,
        )
        return made

    def empty(self, nodes: int) -> Drawn:
        """Room for those of some nodes."""
        shape = nodes, self.count
        return Drawn(np.empty(shape, self.graph.neighbours.dtype), np.empty(shape, np.int16))

    def table(self, path: str | Path | None = None) -> "TokenTable":
        """Those of all nodes, drawn once.

        Args:
            path: a folder to keep it in, memory-mapped; what the same graph, K and seed have left there is opened. None
                keeps it in memory.

        Raises:
            UserError: the folder holds others.
        """
        if path is None:
            made = self.empty(self.graph.nodes)
            self._fill(made)
            return TokenTable(made)
        path = Path(path)
        facts = {"graph": self.graph.fingerprint, "count": self.count, "seed": self.seed}
        if path.exists():
            return TokenTable(_opened(path, facts))
        beside = path.with_name(f".{path.name}.part")
        rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            shape, types = (self.graph.nodes, self.count), (self.graph.neighbours.dtype, np.dtype(np.int16))
            files = (
                np.lib.format.open_memmap(beside / f"{name}.npy", "w+", kind, shape)
                for name, kind in zip(Drawn._fields, types, strict=True)
            )
            made = Drawn(*files)
            self._fill(made)
            made.tokens.flush()
            made.counts.flush()
            (beside / "tokens.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
            beside.rename(path)
        finally:
            rmtree(beside, ignore_errors=True)
        return TokenTable(_opened(path, facts))

    def _fill(self, made: Drawn) -> None:
        for first in range(0, self.graph.nodes, CHUNK):
            part = slice(first, min(first + CHUNK, self.graph.nodes))
            made.tokens[part], made.counts[part] = self.draw(np.arange(part.start, part.stop))


class TokenTable:
    """Tokens of every node that were drawn before; `draw` looks them up.

    Args:
        drawn: (N, K), may be memory-mapped.
    """

    def __init__(self, drawn: Drawn):
        self.drawn = drawn

    def draw(self, nodes: NDArray[np.int64], key: int = 0) -> Drawn:
        """Those of some nodes (S,), whatever the key."""
        nodes = check_ids(nodes, len(self.drawn.tokens), "node")
        return Drawn(self.drawn.tokens[nodes], self.drawn.counts[nodes])


def _opened(path: Path, facts: dict) -> Drawn:
    try:
        found = json.loads((path / "tokens.json").read_text(encoding="utf-8"))
        files = (np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in Drawn._fields)
        made = Drawn(*files)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: holds no whole table of tokens ({str(error)[:120]}); remove it.") from None
    if found != facts:
        raise UserError(f"{path}: holds the tokens of {found}, wanted are those of {facts}; name another folder.")
    return made
