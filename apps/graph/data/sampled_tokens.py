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

from .device_rows import DeviceRows, ElsewhereTokens
from .features import take
from .graph import Graph
from .items import Batch, NodeSet, Tokens
from .loaders import Batches, Ids, Loading
from .spread import spread_features

HOPS = 2

_turned: "WeakKeyDictionary[Graph, Graph]" = WeakKeyDictionary()
_on_devices: "WeakKeyDictionary[Graph, DeviceRows]" = WeakKeyDictionary()
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
        on_device: spread features of all nodes stay on the GPU, and batches bring ids.
    """

    def __init__(
        self,
        count: int = 100,
        batch_size: int = 1024,
        redraw: bool = False,
        outgoing: bool = False,
        folder: str | None = None,
        on_device: bool = False,
    ):
        if not 2 <= count < 2**15 or batch_size < 1:
            raise UserError(
                f"--data.loading: count {count} must be in 2 .. {2**15 - 1} and batch_size {batch_size} at least 1."
            )
        self.count, self.batch_size, self.redraw = count, batch_size, redraw
        self.outgoing, self.folder, self.on_device = outgoing, folder, on_device

    def channels(self, features: int, encoding: int) -> int:
        """Of the features: encodings are handed over on their own."""
        return features

    def batches(self, nodes: NodeSet, encoding: Tensor | None, targets: Ids, seed: int, shuffle: bool) -> Batches:
        if self.on_device and not torch.cuda.is_available():
            raise UserError("--data.loading.on_device: there is no GPU; leave it out.")
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
        self.elsewhere = _elsewhere(graph, self.rows) if like.on_device else None
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
        own = torch.from_numpy(ids)
        graph, few = self.nodes.graph, len(ids)
        told = torch.from_numpy(index.astype(np.int64, copy=False)), torch.from_numpy(counts.astype(np.int64))
        if self.elsewhere is None:
            features = take(self.rows.reshape(len(self.rows), -1), different)
            assert isinstance(features, Tensor)
            features = features.view(len(different), HOPS + 1, -1)
            x, made = features[told[0][:, 0], 0], Tokens(features, *told)
        else:
            x = torch.from_numpy(self.rows[ids, 0])
            made = ElsewhereTokens.of(torch.from_numpy(different), *told, self.elsewhere)
        return Batch(
            x,
            Csr(torch.zeros(few + 1, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), few),
            torch.arange(few),
            torch.from_numpy(np.asarray(self.nodes.labels[ids])),
            own,
            torch.from_numpy(graph.offsets[ids + 1] - graph.offsets[ids]),
            encoding=None if self.encoding is None else self.encoding[own],
            number=number,
            loops=graph.loops,
            tokens=made,
        )

    def _marks(self) -> NDArray[np.int32]:
        if not hasattr(self._own, "marks"):
            self._own.marks = np.full(self.nodes.graph.nodes, -1, np.int32)
        return self._own.marks


def _elsewhere(graph: Graph, rows: NDArray[np.float32]) -> DeviceRows:
    """One for all parts."""
    if graph not in _on_devices or _on_devices[graph].rows is not rows:
        _on_devices[graph] = DeviceRows(rows)
    return _on_devices[graph]
