"""Biases computed from relative coordinates by a small network.

Continuous position bias with log spacing (Swin v2, Liu et al. 2022): each difference delta is divided by
`window` - 1, scaled to 8 and taken to sign(u) log2(1 + |u|) / log2(8); two layers give one number a head, then
16 * sigmoid. Works for any real coordinates: other window sizes, two grids of different spacing, point sets.

Decided: the network runs once a distinct difference; which those are is kept with the plan.
"""

__all__ = ["LogMLPBias"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from core.partitions import Pairs
from core.positions.base import ScoreBias


class LogMLPBias(ScoreBias):
    """16 * sigmoid(MLP(log-spaced differences)).

    Args:
        heads: number of heads.
        window: extent that the differences are measured by, an axis; for a network tuned to a larger window after
            training, keep the window it was trained with.
        hidden: width of the hidden layer.
    """

    def __init__(self, heads: int, window: Sequence[float], hidden: int = 512) -> None:
        super().__init__()
        self.window = tuple(window)
        self.hidden = nn.Linear(len(self.window), hidden)
        self.out = nn.Linear(hidden, heads, bias=False)

    def forward(self, pairs: Pairs) -> Tensor:
        if pairs.queries.shape[-1] != len(self.window):
            raise ValueError(
                f"LogMLPBias: window {self.window} for groups of rank {pairs.queries.shape[-1]}; "
                "give one window size a grid axis"
            )
        if torch.compiler.is_compiling():
            values = self._network(_delta(pairs))
        else:
            distinct, rows = pairs.derived(LogMLPBias, _distinct)
            values = self._network(distinct).index_select(0, rows.flatten()).view(*rows.shape, self.out.out_features)
        return values.movedim(-1, 1).contiguous()

    def _network(self, delta: Tensor) -> Tensor:
        span = torch.tensor([max(w - 1, 1e-6) for w in self.window], device=delta.device, dtype=delta.dtype)
        delta = delta / span * 8
        delta = delta.sign() * torch.log2(delta.abs() + 1) / 3
        return 16 * torch.sigmoid(self.out(torch.relu(self.hidden(delta.to(self.hidden.weight.dtype)))))


def _delta(pairs: Pairs) -> Tensor:
    return pairs.queries[:, :, None] - pairs.keys[:, None]


def _distinct(pairs: Pairs) -> tuple[Tensor, Tensor]:
    delta = _delta(pairs)
    distinct, rows = torch.unique(delta.flatten(0, -2), dim=0, return_inverse=True)
    return distinct, rows.view(delta.shape[:-1])
