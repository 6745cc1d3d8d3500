"""The parts of TimeXer (Wang et al., NeurIPS 2024): patch tokens of a target, and the layer.

A layer (post-norm) over the P + 1 tokens of a target, the global token g last, and T exogenous tokens e, the same for
all layers::

    x = norm1(x + SelfAttention(x))
    g = norm2(g + CrossAttention(g, e))
    x = norm3(x + MLP(x))

Equal to the release (thuml/TimeXer 7601190).  Computed differently: the cross-attention has few queries q, one a
target, and T tokens e; with the rows of the key and value maps that belong to a head, K and V,

    q . (K e_t)                 =  (q K) . e_t
    sum_t w_t (V e_t + b)       =  V (sum_t w_t e_t) + b sum_t w_t

so that the queries go through both maps instead of the tokens (`_attend_unprojected`; sum_t w_t is 1 but for dropout).
The bias of the keys adds the same to every score of a query, which a softmax does not see: there is none.  Measured on
one CPU thread, width 512, forward and backward of one cross-attention of one target, tokens projected against this:
2.4 and 2.1 ms (T 6, batch 4), 10.3 and 4.5 ms (T 6, batch 32), 28.5 and 5.6 ms (T 20, batch 32); seven targets and 11
tokens are faster projected, 20 and 25 ms.
"""

__all__ = ["PatchTokens", "TimeXerLayer"]

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.ops.dropout import dropout
from core.positions import sinusoid


class CrossAttention(nn.Module):
    """Attention of a target's global token over the exogenous tokens.

    Args:
        dim: token width.
        heads: attention heads.
        dropout: on the weights.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """queries `(B, K, dim)` over tokens `(B, T, dim)`, T may be 0."""
        attend = self._attend_unprojected if _few_queries(queries, tokens) else self._attend_projected
        return self.out(attend(self.q(queries), tokens))

    def _attend_projected(self, q: Tensor, tokens: Tensor) -> Tensor:
        """The definition: every token becomes a key and a value."""
        q, k, v = (z.unflatten(2, (self.heads, -1)).transpose(1, 2) for z in (q, self.k(tokens), self.v(tokens)))
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return mixed.transpose(1, 2).flatten(2)

    def _attend_unprojected(self, q: Tensor, tokens: Tensor) -> Tensor:
        """The same by maps of the queries (the module's docstring has the formula)."""
        batch, count, dim = q.shape
        heads = self.heads
        q = (q * (dim // heads) ** -0.5).view(batch * count, heads, -1).transpose(0, 1)
        asked = q @ self.k.weight.view(heads, -1, dim)  # (heads, B K, dim)
        asked = asked.view(heads, batch, count, dim).transpose(0, 1).reshape(batch, heads * count, dim)
        weights = dropout((asked @ tokens.mT).softmax(-1), self.dropout, self.training)

        def by_head(z: Tensor) -> Tensor:
            return z.view(batch, heads, count, -1).transpose(0, 1).reshape(heads, batch * count, -1)

        bias = self.v.bias.view(heads, 1, -1) * by_head(weights.sum(-1))
        mixed = torch.baddbmm(bias, by_head(weights @ tokens), self.v.weight.view(heads, -1, dim).mT)
        return mixed.transpose(0, 1).reshape(q.shape[1], dim).view(batch, count, dim)


def _few_queries(queries: Tensor, tokens: Tensor) -> bool:
    """Whether maps of the queries cost less: products of batches of small matrices run at half the speed of one large
    one, and some dozen microseconds of more calls have to be won back."""
    batch, count, dim = queries.shape
    return queries.device.type == "cpu" and batch * (tokens.shape[1] - 2 * count) * dim**2 > 2**20


class TimeXerLayer(nn.Module):
    """One layer.

    Args:
        dim: token width.
        heads: attention heads.
        hidden: width inside the MLP.
        dropout: on attention weights, branches and inside the MLP.
        activation: of the MLP.
    """

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float = 0.0, activation: type[nn.Module] = nn.GELU):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.cross = CrossAttention(dim, heads, dropout)
        self.expand = nn.Linear(dim, hidden)
        self.contract = nn.Linear(hidden, dim)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.activation = activation()

    def forward(self, x: Tensor, exogenous: Tensor, real: Tensor | None = None) -> Tensor:
        """x `(B, K, P + 1, dim)` with the global token last; exogenous `(B, T, dim)`; real `(B, K, P + 1)` bool,
        False for patches without any observed step."""
        x = self.norm1(x + self._drop(self.out(self._mix(x, real))))
        g = x[:, :, -1]
        g = self.norm2(g + self._drop(self.cross(g, exogenous)))
        x = x.select_scatter(g, 2, -1)
        inner = self._drop(self.activation(self.expand(x)))
        return self.norm3(x + self._drop(self.contract(inner)))

    def _mix(self, x: Tensor, real: Tensor | None) -> Tensor:
        batch, targets, tokens, _ = x.shape
        q, k, v = self.qkv(x).view(batch * targets, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        mask = None if real is None else real.view(batch * targets, 1, 1, tokens)
        mixed = F.scaled_dot_product_attention(q, k, v, mask, self.dropout if self.training else 0.0)
        return mixed.transpose(1, 2).reshape(x.shape)

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)


class PatchTokens(nn.Module):
    """Patches of each target as tokens with a sinusoidal position, then its learned global token.

    Args:
        context_length: steps L.
        target_dim: number of targets K.
        dim: token width.
        patch_length: steps in a patch.
        dropout: on all tokens.
        drop_tail: leave out the newest `L mod patch_length` steps instead of padding the oldest patch.
    """

    def __init__(
        self,
        context_length: int,
        target_dim: int,
        dim: int,
        patch_length: int,
        dropout: float = 0.0,
        drop_tail: bool = False,
    ):
        super().__init__()
        rest = context_length % patch_length
        # Negative padding crops.
        self.padding = (0, -rest) if drop_tail else (-context_length % patch_length, 0)
        self.count = (context_length + sum(self.padding)) // patch_length
        self.patch_length, self.dropout = patch_length, dropout
        self.embedding = nn.Linear(patch_length, dim, bias=False)
        self.global_token = nn.Parameter(torch.randn(target_dim, 1, dim))
        self.register_buffer("position", sinusoid(self.count, dim), persistent=False)

    def forward(self, x: Tensor, observed: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """x, observed `(B, L, K)` to tokens `(B, K, P + 1, dim)` and, where `observed` is given, which of them hold
        anything observed `(B, K, P + 1)`; the global token always does."""
        tokens = self.embedding(self._cut(x)) + self.position
        tokens = torch.cat([tokens, self.global_token.expand(x.shape[0], -1, -1, -1)], dim=2)
        real = None if observed is None else F.pad(self._cut(observed).any(-1), (0, 1), value=True)
        return dropout(tokens, self.dropout, self.training), real

    def _cut(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        return (F.pad(x, self.padding) if any(self.padding) else x).unflatten(2, (self.count, self.patch_length))
