"""SIGN (Frasca et al. 2020, arXiv 2004.11198): features spread over the graph once, then a network of each node alone.

    y = MLP([x, P_1 x, P_1^2 x, ..., P_2 x, ...]),  MLP = (Linear, BatchNorm, relu, dropout) x (depth - 1), Linear

Shapes: blocks (n, R F) -> (n, classes), the blocks made by `sign_blocks` before training; every operator has its number
of hops.  The whole graph is needed once, a training step needs rows only.  As in the release for ogbn-papers100M one
linear layer takes all blocks together; that of the paper, one layer a block and their concatenation, is the same with
block-diagonal weights.
"""

__all__ = ["SIGN", "sign_blocks"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from apps.graph.data.items import Batch, SparseRows
from apps.graph.models.classifier import NodeClassifier
from apps.graph.models.diffusion import Step, spread, symmetric
from core.ops.csr import Csr


def sign_blocks(x: Tensor, csr: Csr, operators: Sequence[tuple[Step, int]] = ((symmetric, 3),)) -> Tensor:
    """x (N, F) and what each operator makes of it, side by side: (N, (1 + sum of hops) F).

    Args:
        x: features.
        csr: the whole graph.
        operators: each with its number of hops (`apps.graph.models.diffusion`).
    """
    return torch.cat([x, *(block for step, hops in operators for block in spread(x, csr, hops, step)[1:])], 1)


class SIGN(NodeClassifier):
    """The network of rows.

    Args:
        channels: of all blocks together.
        classes: numbers that are predicted.
        hidden: width.
        depth: linear layers.
        dropout: behind each but the last.
    """

    def __init__(self, channels: int, classes: int, hidden: int = 512, depth: int = 3, dropout: float = 0.3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(depth - 1):
            layers += [nn.Linear(channels if i == 0 else hidden, hidden), nn.BatchNorm1d(hidden)]
            layers += [nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden if depth > 1 else channels, classes))

    def forward(self, blocks: Tensor) -> Tensor:
        """(n, channels) -> (n, classes)."""
        return self.layers(blocks)

    def classify(self, batch: Batch) -> Tensor:
        x = batch.x.dense() if isinstance(batch.x, SparseRows) else batch.x
        return self(x[batch.targets])

    def heads(self) -> list[nn.Module]:
        return [self.layers[-1]]
