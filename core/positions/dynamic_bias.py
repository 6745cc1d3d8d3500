"""Biases computed from plain differences of coordinates by a small network (CrossFormer, Wang et al. 2022; RGT).

    b_h(q, k) = W_3 r(W_2 r(W_1 r(W_0 (p_q - p_k)))),   r(x) = ReLU(LayerNorm(x))

Differences are counted in steps, not normalised. Works for any window size, also one the network was not trained with.

Decided: the network runs once a distinct difference; which those are is kept with the plan.
"""

__all__ = ["DynamicBias"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.partitions import Pairs
from core.positions.base import ScoreBias


class DynamicBias(ScoreBias):
    """One number a head from a difference of positions.

    Args:
        heads: number of heads.
        hidden: width of the network, 2 at least: a norm over one channel leaves nothing.
        rank: of the grids.
    """

    local = True

    def __init__(self, heads: int, hidden: int, rank: int = 2) -> None:
        super().__init__()
        if hidden < 2:
            raise ValueError(f"DynamicBias: hidden {hidden}; a norm over one channel gives a constant, give 2 or more")
        self.heads = heads
        self.enter = nn.Linear(rank, hidden)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(3))
        self.layers = nn.ModuleList(nn.Linear(hidden, width) for width in (hidden, hidden, heads))

    def forward(self, pairs: Pairs) -> Tensor:
        if pairs.queries.shape[-1] != self.enter.in_features:
            raise ValueError(
                f"DynamicBias: rank {self.enter.in_features} for groups of rank {pairs.queries.shape[-1]}; "
                "give the rank of the grids"
            )
        if torch.compiler.is_compiling():
            values = self._network(_delta(pairs))
        else:
            distinct, rows = pairs.derived(DynamicBias, _distinct)
            values = self._network(distinct).index_select(0, rows.flatten()).view(*rows.shape, self.heads)
        return values.movedim(-1, 1).contiguous()

    def _network(self, delta: Tensor) -> Tensor:
        x = self.enter(delta.to(self.enter.weight.dtype))
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = layer(F.relu(norm(x)))
        return x


def _delta(pairs: Pairs) -> Tensor:
    return pairs.queries[:, :, None] - pairs.keys[:, None]


def _distinct(pairs: Pairs) -> tuple[Tensor, Tensor]:
    delta = _delta(pairs)
    distinct, rows = torch.unique(delta.flatten(0, -2), dim=0, return_inverse=True)
    return distinct, rows.view(delta.shape[:-1])
