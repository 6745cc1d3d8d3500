"""Encoder of sets of views (VSFormer, Sun et al. 2024): the views of an object, each one token, attend to each other
without any order or position, so that their number and order are free.

    x <- x + drop path(dropout(attention(LN x)))         q, k and v without bias
    x <- x + drop path(dropout(W_2 GELU(W_1 LN x)))

No norm behind the last layer. Published: 4 layers, 4 heads, width 512, hidden 1024, 20 views; attention dropout 0.1
(of the weights and again of the result), feed dropout 0.5, drop path 0 rising to 0.5; the views' largest and mean
features, one behind the other, go to the classifier.

Decided: drop path leaves out the branches of a sample. The release applies it to the sums, so that a dropped sample
becomes 0 and the others grow by 1 / (1 - share) every time; `official=True` reproduces that in training (in
evaluation both are the same). Sets of unequal size are masked grids or ragged sets, which the release cannot take.
"""

__all__ = ["ViewSetEncoder"]

import torch
from torch import Tensor, nn

from core.channels import MLP
from core.layout import Ragged, Tokens, per_token, zero_padding
from core.mixers.attention import Attention
from core.mixers.base import Mixer
from core.ops.dropout import dropout


class ViewSetEncoder(Mixer):
    """Layers of attention and MLP over sets without positions.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        depth: number of layers.
        hidden: width inside the MLPs; 2 dim by default.
        dropout: of attention weights and of what attention gives.
        feed_dropout: of what the MLPs give.
        drop_path: share of samples whose branches are left out by the last layer, rising evenly from 0 at the first.
        official: drop sums instead of branches, as the release does.

    Raises:
        ValueError: a share outside [0, 1).
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        depth: int = 4,
        hidden: int | None = None,
        dropout: float = 0.0,
        feed_dropout: float = 0.0,
        drop_path: float = 0.0,
        official: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= drop_path < 1:
            raise ValueError(f"ViewSetEncoder: drop_path {drop_path}; give a share in [0, 1)")
        shares = torch.linspace(0, drop_path, depth).tolist()
        self.layers = nn.ModuleList(
            _Layer(dim, heads, hidden or 2 * dim, dropout, feed_dropout, share, official) for share in shares
        )

    def forward(self, x: Tokens, *, mask: Tensor | None = None) -> Tokens:
        """x (B, *grid, dim), or Ragged without a mask.

        Raises:
            ValueError: a mask with a ragged set.
        """
        if isinstance(x, Ragged):
            if mask is not None:
                raise ValueError("ViewSetEncoder: a ragged set has no padding; leave the mask out")
            for layer in self.layers:
                x = layer(x, None)
            return x
        x = zero_padding(x, mask)
        for layer in self.layers:
            x = layer(x, mask)
        return zero_padding(x, mask)


class _Layer(nn.Module):
    def __init__(
        self, dim: int, heads: int, hidden: int, rate: float, feed_rate: float, share: float, official: bool
    ) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(dim), Attention(dim, heads, bias=False, dropout=rate)
        self.feed_norm, self.feed = nn.LayerNorm(dim), MLP(dim, hidden)
        self.rate, self.feed_rate, self.share, self.official = rate, feed_rate, share, official

    def forward(self, x: Tokens, mask: Tensor | None) -> Tokens:
        x = self._add(x, self.attention(per_token(self.norm, x), mask=mask), self.rate)
        return self._add(x, per_token(lambda t: self.feed(self.feed_norm(t)), x), self.feed_rate)

    def _add(self, x: Tokens, branch: Tokens, rate: float) -> Tokens:
        """The residual connection with what training leaves out."""
        if isinstance(x, Ragged):
            assert isinstance(branch, Ragged)
            kept = self._kept(x.batch, x.tokens)
            kept = None if kept is None else kept[x.segment_ids(), None]
            return x.with_tokens(self._sum(x.tokens, branch.tokens, rate, kept))
        kept = self._kept(len(x), x)
        return self._sum(x, branch, rate, None if kept is None else kept.view(-1, *(1,) * (x.ndim - 1)))

    def _sum(self, x: Tensor, branch: Tensor, rate: float, kept: Tensor | None) -> Tensor:
        branch = dropout(branch, rate, self.training)
        if kept is None:
            return x + branch
        return (x + branch) * kept if self.official else x + branch * kept

    def _kept(self, batch: int, like: Tensor) -> Tensor | None:
        """(B,) factors 0 or 1 / (1 - share), None where nothing is left out."""
        if not self.training or not self.share:
            return None
        return torch.empty(batch, dtype=like.dtype, device=like.device).bernoulli_(1 - self.share) / (1 - self.share)
