"""Mamba along every path of a tree at once, from the root to the leaves.

Paths share their beginnings, so a state is computed for each node of the tree instead of each token of each path:

    s_c = exp(dt_c A) s_parent(c) + dt_c B_c x_c,   convolution over c, its parent, its grandparent, ...

and what stands at a leaf is the last output of `Mamba` on the leaf's path.  With n clusters a level this costs sum n_l
tokens instead of depth * leaves, and one step a level.
"""

__all__ = ["TreeMamba"]

import torch
from torch import Tensor
from torch.nn import functional as F

from core.mixers.mamba import Mamba


class TreeMamba(Mamba):
    """`Mamba` whose `walk` goes down a tree; weights and `forward` for sequences are the same."""

    def walk(self, levels: list[Tensor], parents: list[Tensor]) -> list[Tensor]:
        """(n_l, dim) a level -> the same, root first.

        Args:
            levels: tokens.
            parents: place of each in the level above; the first is not read.
        """
        halves = [self.enter(x).chunk(2, -1) for x in levels]
        inner = [F.silu(x) for x in self._convolve([x for x, _ in halves], parents)]
        rates = -self.log_rate.exp()
        state: Tensor | None = None
        made = []
        for x, (_, gate), above in zip(inner, halves, parents, strict=True):
            rank, b, c = self.select(x).split([self.rank, self.state, self.state], -1)
            dt = F.softplus(self.dt(rank))
            gain = (dt * x)[:, :, None] * b[:, None]
            state = gain if state is None else gain + torch.exp(dt[:, :, None] * rates) * state.index_select(0, above)
            y = (state @ c[:, :, None])[..., 0] + self.skip * x
            made.append(self.out(y * F.silu(gate)))
        return made

    def _convolve(self, levels: list[Tensor], parents: list[Tensor]) -> list[Tensor]:
        taps = self.conv.weight[:, 0].flip(1).unbind(1)  # the node's own first
        made = []
        for depth, x in enumerate(levels):
            y, ancestor = x * taps[0], parents[depth]
            for up, tap in enumerate(taps[1:], 1):
                if up > depth:
                    break
                y = y + (levels[depth - up] * tap).index_select(0, ancestor)
                ancestor = parents[depth - up].index_select(0, ancestor)
            made.append(y if self.conv.bias is None else y + self.conv.bias)
        return made
