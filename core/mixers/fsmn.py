"""Gated memory of MossFormer2 (Zhao et al. 2023), which stands where others have a recurrent network: a feedforward
sequential memory network (Zhang et al. 2015) with dense dilated convolutions between two gates.

    y = LN(PReLU(W x + b)),   m = ffconv_m(y),   s = ffconv_s(y)
    z = LN(s * memory(m) + y),   result = W' z + b'

    memory(m) = m + o_k,   p = P relu(L m + b),   o_i = PReLU(IN(conv_i([o_(i-1), ..., o_1, p])))

conv_i has 2 order - 1 taps, dilation 2^(i-1) and C groups over i C channels: output channel c reads channels
i c, ..., i c + i - 1 of what it is given, newest first.  IN is a normalisation over time for each channel.

Decided: every convolution is depthwise over all i C channels, whose results are added in groups of i.  Statistics over
time leave padding out (the release counts it), and one frame is a sequence like any other (the release raises in
training, and mixes a batch of them up otherwise).
"""

__all__ = ["DilatedMemory", "GatedMemory", "PlainMemory"]

from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.layout import zero_padding
from core.mixers.base import Mixer
from core.mixers.conv_feed_forward import ConvFeedForward, expand
from core.norms import FoldedLayerNorm
from core.ops.depthwise import depthwise
from core.ops.normalise import instance_prelu
from core.ops.recomputed import linear_of


def _kernel(dim: int, channels: int, taps: int) -> nn.Parameter:
    """(channels dim, 1, taps), drawn as torch draws that of a grouped convolution."""
    own = nn.Conv1d(channels * dim, dim, taps, groups=dim, bias=False).weight.detach()
    return nn.Parameter(own.reshape(-1, 1, taps))


class PlainMemory(Mixer):
    """x + p + depthwise(p), p = P relu(L x + b).

    Args:
        dim: width of the frames.
        hidden: width between the projections; dim by default.
        order: the memory reaches order - 1 frames to both sides.
    """

    def __init__(self, dim: int, *, hidden: int | None = None, order: int = 20) -> None:
        super().__init__()
        self.enter = nn.Linear(dim, hidden or dim)
        self.leave = nn.Linear(hidden or dim, dim, bias=False)
        self.conv = _kernel(dim, 1, 2 * order - 1)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, T, dim)."""
        x = zero_padding(x, mask)
        p = zero_padding(self.leave(torch.relu(self.enter(x))), mask)
        return zero_padding(x + p + depthwise(p, self.conv), mask)


class DilatedMemory(Mixer):
    """x + a dense stack of dilated convolutions of P relu(L x + b).

    Args:
        dim: width of the frames.
        hidden: width between the projections; dim by default.
        order: a convolution of dilation 1 reaches order - 1 frames to both sides.
        depth: number of convolutions.
    """

    def __init__(self, dim: int, *, hidden: int | None = None, order: int = 20, depth: int = 2) -> None:
        super().__init__()
        self.enter = nn.Linear(dim, hidden or dim)
        self.leave = nn.Linear(hidden or dim, dim, bias=False)
        self.convs = nn.ParameterList(_kernel(dim, number + 1, 2 * order - 1) for number in range(depth))
        self.weights = nn.Parameter(torch.ones(depth, dim))
        self.biases = nn.Parameter(torch.zeros(depth, dim))
        self.slopes = nn.Parameter(torch.full((depth, dim), 0.25))

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, T, dim)."""
        x = zero_padding(x, mask)
        seen = zero_padding(self.leave(torch.relu(self.enter(x))), mask)
        for number, kernel in enumerate(self.convs):
            y = depthwise(seen, kernel, dilation=2**number)
            first, *others = (y[..., place :: number + 1] for place in range(number + 1))
            y = reduce(torch.add, others, first)
            y = instance_prelu(y, self.weights[number], self.biases[number], self.slopes[number], mask)
            if number + 1 < len(self.convs):
                seen = torch.cat([zero_padding(y, mask), seen], -1)
        return zero_padding(x + y, mask)


class GatedMemory(Mixer):
    """A memory between two gates: the recurrent half of a MossFormer2 layer.

    Args:
        dim: width of the frames.
        inner: width inside.
        order: reach of the memory.
        depth: convolutions of the memory.
        kernel: frames the convolutions of the gates reach over.
        dropout: rate of the gates.
    """

    def __init__(
        self,
        dim: int,
        *,
        inner: int = 256,
        order: int = 20,
        depth: int = 2,
        kernel: int = 17,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(dim, inner)
        self.slope = nn.Parameter(torch.full((1,), 0.25))
        self.norm = nn.LayerNorm(inner)
        self.to_memory = ConvFeedForward(inner, kernel=kernel, norm=FoldedLayerNorm, dropout=dropout)
        self.to_gate = ConvFeedForward(inner, kernel=kernel, norm=FoldedLayerNorm, dropout=dropout)
        self.memory = DilatedMemory(inner, order=order, depth=depth)
        self.last_norm = nn.LayerNorm(inner)
        self.leave = nn.Linear(inner, dim)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, T, dim)."""
        entered = self.enter(zero_padding(x, mask))
        inputs = (entered, self.slope, self.norm.weight, self.norm.bias)
        both = expand(self._begin, [self.to_memory, self.to_gate], mask, inputs)
        remembered, opening = both.chunk(2, -1)
        remembered = self.memory(remembered, mask=mask)
        last = (self.last_norm.weight, self.last_norm.bias)
        z = linear_of(self._end, self.leave.weight, self.leave.bias, *inputs, opening, remembered, *last)
        return zero_padding(z, mask)

    def _begin(self, entered: Tensor, slope: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """y of what the first linear layer gives."""
        return F.layer_norm(F.prelu(entered, slope), weight.shape, weight, bias, self.norm.eps)

    def _end(self, *inputs: Tensor) -> Tensor:
        """What the last linear layer is given."""
        *first, opening, remembered, weight, bias = inputs
        z = torch.addcmul(self._begin(*first), opening, remembered)
        return F.layer_norm(z, weight.shape, weight, bias, self.last_norm.eps)
