"""Batches for LargeGT: nodes with sampled tokens of their neighbourhood (`apps.graph.tokens`) and, for each of these,
x, P x and P^2 x, so that two hops of tokens see four of the graph.

A node that several sequences share is in a batch once, and so are equal tokens of one sequence, with their count.
x and targets are the nodes that are predicted, one row each; encodings are beside, for the codebook, not in x.
"""

__all__ = ["SampledTokens"]

import threading
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apps.graph.models.diffusion import tokens
from apps.graph.sampling.token_kernels import distinct
from apps.graph.tokens import TokenSampler, TokenTable
from core.errors import UserError
from core.ops.csr import Csr

from .features import take
from .graph import Graph
from .items import Batch, NodeSet, Tokens
from .loaders import Batches, Ids, Loading
from .spread import spread_features

HOPS = 2

_turned: "WeakKeyDictionary[Graph, Graph]" = WeakKeyDictionary()
_tables: "WeakKeyDictionary[Graph, dict[tuple, TokenTable]]" = WeakKeyDictionary()


class SampledTokens(Loading):
    """Some nodes at a time, each with its tokens.

    Args:
        count: tokens of a node, itself among them (K).
        batch_size: nodes that are predicted at a time.
        redraw: other tokens in every epoch of training; otherwise those of a table that is drawn once, as published.
        outgoing: a directed graph is followed from sources to targets, as published (a patent reads those that it
            cites); otherwise against edges, as every other network here gets its messages.
        folder: where spread features and the table are kept, memory-mapped; None keeps them in memory.
    """

    def __init__(
        self,
        count: int = 100,
        batch_size: int = 1024,
        redraw: bool = False,
        outgoing: bool = False,
        folder: str | None = None,
    ):
        if not 2 <= count < 2**15 or batch_size < 1:
            raise UserError(
                f"--data.loading: count {count} must be in 2 .. {2**15 - 1} and batch_size {batch_size} at least 1."
            )
        self.count, self.batch_size, self.redraw = count, batch_size, redraw
        self.outgoing, self.folder = outgoing, folder

    def channels(self, features: int, encoding: int) -> int:
        """Of the features: encodings are handed over on their own."""
        return features

    def batches(self, nodes: NodeSet, encoding: Tensor | None, targets: Ids, seed: int, shuffle: bool) -> Batches:
        return _WithTokens(self, nodes, encoding, targets, self.batch_size, seed, shuffle)

    def graph(self, nodes: NodeSet) -> Graph:
        """The graph whose rows are followed."""
        if not self.outgoing or nodes.graph.symmetric:
            return nodes.graph
        if nodes.graph not in _turned:
            _turned[nodes.graph] = nodes.graph.transposed()
        return _turned[nodes.graph]

    def table(self, graph: Graph) -> TokenTable:
        """Drawn once for all parts, whatever the seed of a run."""
        kept, key = _tables.setdefault(graph, {}), (self.count, self.folder)
        if key not in kept:
            kept[key] = TokenSampler(graph, self.count).table(self.folder and f"{self.folder}/tokens")
        return kept[key]


class _WithTokens(Batches):
    def __init__(self, like: SampledTokens, *args):
        super().__init__(*args)
        graph = like.graph(self.nodes)
        path = like.folder and f"{like.folder}/spread.npy"
        self.rows = spread_features(self.nodes.features, graph, ((tokens, HOPS),), path)
        # Drawn anew they cost no table, and validation draws the same every time.
        self.anew = like.redraw and self.shuffle
        self.source = TokenSampler(graph, like.count, self.seed) if like.redraw else like.table(graph)
        self._own = threading.local()

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "_own"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._own = threading.local()

    def __getitem__(self, number: int) -> Batch:
        ids = self.of(number)
        drawn = self.source.draw(ids, number // len(self) if self.anew else 0)
        # The rest of every row is empty; the longest says how wide the batch must be.
        width = max(2, int((drawn.counts > 0).sum(1).max(initial=0)))
        counts = np.ascontiguousarray(drawn.counts[:, :width])
        index = np.ascontiguousarray(drawn.tokens[:, :width])
        different = distinct(index, counts, self._marks())
        features = take(self.rows.reshape(len(self.rows), -1), different)
        assert isinstance(features, Tensor)
        own = torch.from_numpy(ids)
        graph, few = self.nodes.graph, len(ids)
        index = torch.from_numpy(index.astype(np.int64, copy=False))
        features = features.view(len(different), HOPS + 1, -1)
        return Batch(
            features[index[:, 0], 0],
            Csr(torch.zeros(few + 1, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), few),
            torch.arange(few),
            torch.from_numpy(np.asarray(self.nodes.labels[ids])),
            own,
            torch.from_numpy(graph.offsets[ids + 1] - graph.offsets[ids]),
            encoding=None if self.encoding is None else self.encoding[own],
            number=number,
            loops=graph.loops,
            tokens=Tokens(features, index, torch.from_numpy(counts.astype(np.int64))),
        )

    def _marks(self) -> NDArray[np.int32]:
        if not hasattr(self._own, "marks"):
            self._own.marks = np.full(self.nodes.graph.nodes, -1, np.int32)
        return self._own.marks
