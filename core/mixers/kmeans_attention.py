"""k-means cross-attention (kMaX-DeepLab, Yu et al. 2022): every pixel belongs to one query.

    n(p) = argmax_n <q_n, k_p>,      y_n = N'(W N(sum over p with n(p) = n of v_p))

with q = W_q x_n, k = W_k c_p, v = batch norm of W_v c_p. Where attention takes a softmax over pixels for each query,
this is a hard choice over queries for each pixel, and a sum, not a mean. The choice has no gradient, so queries and
keys learn by losses on the scores alone: kMaX predicts masks by them, and takes `KMeansUpdate` with these.

`kmeans_sum` adds rows by their index; `kmeans_sum_reference` multiplies by the one-hot matrix, as the release does.
"""

__all__ = ["KMeansAttention", "KMeansUpdate", "kmeans_sum", "kmeans_sum_reference"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.layout import grid_of, zero_padding
from core.mixers.base import Mixer, init_linear
from core.mixers.position_sensitive import TokenBatchNorm


def kmeans_sum(scores: Tensor, values: Tensor) -> Tensor:
    """Sum of the values that each query gets.

    Args:
        scores: (B, N, P).
        values: (B, P, C), 0 at padding.

    Returns:
        (B, N, C)
    """
    batch, queries, _ = scores.shape
    start = torch.arange(0, batch * queries, queries, device=scores.device)[:, None]
    owner = (scores.detach().argmax(1) + start).flatten()
    sums = values.new_zeros(batch * queries, values.shape[2]).index_add(0, owner, values.flatten(0, 1))
    return sums.view(batch, queries, -1)


def kmeans_sum_reference(scores: Tensor, values: Tensor) -> Tensor:
    """The same by a product with the one-hot assignment."""
    chosen = F.one_hot(scores.detach().argmax(1), scores.shape[1])
    return chosen.transpose(1, 2).to(values) @ values


class KMeansUpdate(nn.Module):
    """What queries become by the pixels that are theirs.

    Args:
        dim: width of the result.
        context_dim: width of the pixels.
        value_dim: width of the values; dim by default.
        gain: first value of the last norm's weight; 0 lets the branch begin at 0.
    """

    def __init__(self, dim: int, context_dim: int, *, value_dim: int | None = None, gain: float = 1.0) -> None:
        super().__init__()
        width = value_dim or dim
        self.v, self.v_norm = nn.Linear(context_dim, width, bias=False), TokenBatchNorm(width)
        self.sum_norm = TokenBatchNorm(width)
        self.out, self.norm = nn.Linear(width, dim, bias=False), TokenBatchNorm(dim, gain=gain)
        init_linear(self.v, self.out)

    def forward(
        self, scores: Tensor, context: Tensor, mask: Tensor | None = None, context_mask: Tensor | None = None
    ) -> Tensor:
        """The update of each query.

        Args:
            scores: (B, N, P), of padded queries smaller than any real one's.
            context: (B, P, context_dim) pixels.
            mask: (B, N) boolean, True = real query.
            context_mask: (B, P) boolean, True = real pixel; others belong to nobody.

        Returns:
            (B, N, dim)
        """
        values = self.v_norm(self.v(zero_padding(context, context_mask)), context_mask)
        # Many pixels are summed: in single precision at least.
        wide = values.to(torch.promote_types(values.dtype, torch.float32))
        sums = kmeans_sum(scores, wide).to(values.dtype)
        return self.norm(self.out(self.sum_norm(sums, mask)), mask)


class KMeansAttention(Mixer):
    """Queries x are the centres of clusters of the context's tokens, or of their own.

    Args:
        dim: width of the queries.
        key_dim: width in which queries and keys meet; dim by default.
        context_dim: width of the context; dim by default.
        value_dim: width of the values; dim by default.
        gain: first value of the last norm's weight; 0 lets the branch begin at 0.
    """

    def __init__(
        self,
        dim: int,
        *,
        key_dim: int | None = None,
        context_dim: int | None = None,
        value_dim: int | None = None,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.q = nn.Linear(dim, key_dim or dim, bias=False)
        self.k = nn.Linear(context_dim or dim, key_dim or dim, bias=False)
        self.update = KMeansUpdate(dim, context_dim or dim, value_dim=value_dim, gain=gain)
        init_linear(self.q, self.k)

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
    ) -> Tensor:
        """x (B, *grid, dim), context (B, *any grid, context_dim) -> (B, *grid, dim)."""
        queries = zero_padding(x, mask).flatten(1, -2)
        real = None if mask is None else mask.flatten(1)
        if context is None:
            pixels, pixels_real = queries, real
        else:
            pixels = zero_padding(context, context_mask).flatten(1, -2)
            pixels_real = None if context_mask is None else context_mask.flatten(1)
        y = self.update(self.scores(queries, pixels, real), pixels, real, pixels_real)
        return y.unflatten(1, grid_of(x))

    def scores(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, N, dim), context (B, P, context_dim), mask (B, N) -> (B, N, P), by which pixels are given out."""
        # A choice jumps with the last digit of its scores, so they keep the weights' precision.
        with torch.autocast(x.device.type, enabled=False):
            kind = self.q.weight.dtype
            scores = self.q(x.to(kind)) @ self.k(context.to(kind)).transpose(1, 2)
        return scores if mask is None else scores.masked_fill(~mask[..., None], -torch.inf)
