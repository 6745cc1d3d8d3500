"""Batches for SIGN: rows of features that were spread over the graph before training (`apps.graph.data.spread`).

A batch knows no edges: x holds all blocks of the nodes that are predicted, [x, P_1 x, P_1^2 x, ..., P_2 x, ...] side by
side, and beside them encodings.
"""

__all__ = ["DiffusedRows"]

import numpy as np
import torch
from torch import Tensor

from apps.graph.models.diffusion import Step, symmetric
from core.errors import UserError
from core.ops.csr import Csr

from .features import beside, take
from .items import Batch, NodeSet
from .loaders import Batches, Ids, Loading
from .spread import spread_features


class DiffusedRows(Loading):
    """Some nodes at a time.

    Args:
        operators: each with its number of hops, of `apps.graph.models.diffusion`.
        batch_size: nodes that are predicted at a time.
        folder: where spread features are kept, memory-mapped; None keeps them in memory.
    """

    def __init__(
        self,
        operators: tuple[tuple[Step, int], ...] = ((symmetric, 3),),
        batch_size: int = 1024,
        folder: str | None = None,
    ):
        self.operators = tuple((step, hops) for step, hops in operators)
        if batch_size < 1 or any(hops < 1 for _, hops in self.operators):
            hops = [hops for _, hops in self.operators]
            raise UserError(f"--data.loading: batch_size {batch_size} and hops {hops} must be at least 1.")
        self.batch_size, self.folder = batch_size, folder

    def channels(self, features: int, encoding: int) -> int:
        """Of all blocks, and of the encodings beside them."""
        return features * (1 + sum(hops for _, hops in self.operators)) + encoding

    def batches(self, nodes: NodeSet, encoding: Tensor | None, targets: Ids, seed: int, shuffle: bool) -> Batches:
        return _Rows(self, nodes, encoding, targets, self.batch_size, seed, shuffle)


class _Rows(Batches):
    def __init__(self, like: DiffusedRows, *args):
        super().__init__(*args)
        path = like.folder and f"{like.folder}/spread.npy"
        made = spread_features(self.nodes.features, self.nodes.graph, like.operators, path)
        self.rows = made.reshape(len(made), -1)

    def __getitem__(self, number: int) -> Batch:
        ids = self.of(number)
        few, own, graph = len(ids), torch.from_numpy(ids), self.nodes.graph
        encoding = None if self.encoding is None else self.encoding[own]
        return Batch(
            beside(take(self.rows, ids), encoding),
            Csr(torch.zeros(few + 1, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), few),
            torch.arange(few),
            torch.from_numpy(np.asarray(self.nodes.labels[ids])),
            own,
            torch.from_numpy(graph.offsets[ids + 1] - graph.offsets[ids]),
            encoding=encoding,
            number=number,
            loops=graph.loops,
        )
