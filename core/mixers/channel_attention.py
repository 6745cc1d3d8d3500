"""Attention between channels: the map of weights is (width of a head)^2 whatever the image's size.

    q, k, v = depthwise 3 x 3 of W_qkv x, a head at a time (N, c);   A = t_h q^T k / (|q_i| |k_j|)
    y = W_o concat_h weighting(A) v

weighting: softmax (Restormer's MDTA, Zamir et al. 2022), ReLU without a normaliser (DLGSANet's sparse global attention,
Li et al. 2023), a mixture of softmaxes over the largest scores (DRSformer's TKSA, Chen et al. 2023).

Decided: the norms divide the small map of scores instead of q and k, which then need no normalised copies; the weights
are multiplied into the last projection, so that v is multiplied once. With `window`, evaluation attends in overlapping
windows of the size that was trained with and averages where they overlap (test-time local converter, Chu et al. 2022);
the windows depend on the extent of the map, so that a mask is then refused.
"""

__all__ = ["ChannelAttention", "TopKWeights", "row_softmax"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from core.layout import grid_of, zero_padding
from core.mixers.base import Mixer, init_linear
from core.mixers.convolution import DepthwiseConv
from core.ops.topk import topk_softmax

# Norms are at least this, as in torch's own `normalize`.
_SMALLEST = 1e-12


def row_softmax() -> nn.Module:
    """Softmax over the channels that a channel attends to."""
    return nn.Softmax(-1)


class TopKWeights(nn.Module):
    """sum_j a_j softmax over the k_j largest scores of a row, with learned a_j.

    Args:
        fractions: the share of a row that each softmax keeps, as (numerator, denominator), rounded down.
        share: first value of the a_j.
    """

    def __init__(
        self, fractions: Sequence[tuple[int, int]] = ((1, 2), (2, 3), (3, 4), (4, 5)), share: float = 0.2
    ) -> None:
        super().__init__()
        self.fractions = tuple(tuple(f) for f in fractions)
        self.shares = nn.Parameter(torch.full((len(self.fractions),), share))

    def forward(self, scores: Tensor) -> Tensor:
        """Scores (..., c, c) -> weights."""
        return topk_softmax(scores, self.shares, [scores.shape[-1] * a // b for a, b in self.fractions])


class ChannelAttention(Mixer):
    """Channels attend to the channels of their head, over all tokens.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        kernel: of the depthwise convolution of q, k and v; its length is the rank of the grids.
        bias: whether the projections and the convolution have one.
        weighting: makes what turns scores (..., c, c) into weights.
        window: extent of the windows of evaluation, on maps; None = the whole map, as in training.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        kernel: Sequence[int] = (3, 3),
        bias: bool = False,
        weighting: Callable[[], nn.Module] = row_softmax,
        window: int | None = None,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"ChannelAttention: dim {dim} and {heads} heads; give a number of heads that divides dim")
        if window is not None and (window < 1 or len(kernel) != 2):
            raise ValueError(
                f"ChannelAttention: window {window} with kernel {tuple(kernel)}; windows >= 1 are for maps"
            )
        self.heads = heads
        self.window = window
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        self.local = DepthwiseConv(3 * dim, kernel, bias=bias)
        self.temperature = nn.Parameter(torch.ones(heads))
        self.weighting = weighting()
        self.out = nn.Linear(dim, dim, bias=bias)
        init_linear(self.qkv, self.out)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, *grid, dim).

        Raises:
            ValueError: for a mask where there is a window.
        """
        if mask is not None and self.window is not None:
            raise ValueError("ChannelAttention: windows depend on the extent of the map; leave the mask or window out")
        # Padding counts as what lies beyond the border: zeros before the convolution, and nothing after it.
        qkv = zero_padding(self.local(zero_padding(self.qkv(zero_padding(x, mask)), mask)), mask)
        grid = grid_of(x)
        if self.window is None or self.training or max(grid) <= self.window:
            y = self._attend(qkv.flatten(1, -2)).unflatten(1, grid)
        else:
            y = self._in_windows(qkv, self.window)
        y = y if self.out.bias is None else y + self.out.bias
        return zero_padding(y, mask)

    def _attend(self, qkv: Tensor) -> Tensor:
        """(B, N, 3 dim) -> (B, N, dim), projected but for the bias."""
        q, k, v = qkv.chunk(3, dim=-1)
        q, k = (t.unflatten(-1, (self.heads, -1)) for t in (q, k))
        scores = q.permute(0, 2, 3, 1) @ k.permute(0, 2, 1, 3)
        norms = (_norms(q)[..., :, None] * _norms(k)[..., None, :]).to(scores.dtype)
        weights = self.weighting(scores / norms * self.temperature[:, None, None])
        # (dim, heads, c) and (B, heads, c, c) -> one matrix a sample.
        project = self.out.weight.unflatten(1, (self.heads, -1)).transpose(0, 1) @ weights.to(v.dtype)
        return v @ project.permute(0, 1, 3, 2).flatten(1, 2)

    def _in_windows(self, qkv: Tensor, window: int) -> Tensor:
        batch, height, width, triple = qkv.shape
        y = qkv.new_zeros(batch, height, width, triple // 3)
        visits = qkv.new_zeros(height, width, 1)
        for top in _starts(height, window):
            for left in _starts(width, window):
                place = (slice(None), slice(top, top + window), slice(left, left + window))
                part = qkv[place]
                y[place] = y[place] + self._attend(part.flatten(1, 2)).unflatten(1, part.shape[1:3])
                visits[place[1:]] += 1
        return y / visits


def _norms(x: Tensor) -> Tensor:
    """(B, N, h, c) -> (B, h, c), in float32 at least; a dot product is several times faster than `vector_norm` here."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return torch.linalg.vecdot(x, x, dim=1).clamp_min(_SMALLEST**2).sqrt()


def _starts(length: int, window: int) -> list[int]:
    """Evenly spaced, as few as cover the axis, the last one flush with its end."""
    if length <= window:
        return [0]
    count = (length - 1) // window + 1
    step = -(-(length - window) // (count - 1))
    return [min(i * step, length - window) for i in range(count)]
