"""The transformer layer of PatchTST: attention that hands its scores on, batch norm after (or before) each branch.

Nie et al., ICLR 2023, with residual attention from He et al., "RealFormer", Findings of ACL 2021::

    scores = q k^T scale + scores of the layer before;    x = norm1(x + out(softmax(scores) v))
    x = norm2(x + mlp(x))

and with `pre_norm`, as in the release, x = norm1(x) first and the branch added to that.
Facts: `layers/PatchTST_backbone.py` of yuqinie98/PatchTST 204c21e.  Decided differently: the scale is that of the
width of q and k, in the release that of dim // heads even where another width is asked for; it is part of the state
dict there and here, so a loaded checkpoint keeps its own.
"""

__all__ = ["EncoderLayer", "ResidualAttention"]

from collections.abc import Callable

import torch
from torch import Tensor, nn

from core.ops.dropout import dropout


class ResidualAttention(nn.Module):
    """Softmax attention over tokens `(N, P, dim)` that adds the scores of the layer before.

    Args:
        dim: token width.
        heads: attention heads.
        key_dim, value_dim: width of q and k, and of v, per head; dim // heads by default.
        dropout: on the attention weights.
        bias: of the projections of q, k and v.

    Raises:
        ValueError: `dim` is no multiple of `heads`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        key_dim: int | None = None,
        value_dim: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
    ):
        super().__init__()
        if dim % heads and (key_dim is None or value_dim is None):
            raise ValueError(f"dim {dim} is not a multiple of heads {heads}")
        key_dim = dim // heads if key_dim is None else key_dim
        value_dim = dim // heads if value_dim is None else value_dim
        self.heads, self.dropout = heads, dropout
        self.widths = [heads * key_dim, heads * key_dim, heads * value_dim]
        self.qkv = nn.Linear(dim, sum(self.widths), bias=bias)
        self.out = nn.Linear(heads * value_dim, dim)
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor(key_dim**-0.5))

    def forward(self, x: Tensor, previous: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x `(N, P, dim)`, previous scores `(N, heads, P, P)` or none, to the mixed tokens and these scores."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).split(self.widths, -1))
        scores = (q * self.scale) @ k.mT
        if previous is not None:
            scores = scores + previous
        weights = dropout(scores.softmax(-1), self.dropout, self.training)
        return self.out((weights @ v).transpose(1, 2).flatten(2)), scores


class EncoderLayer(nn.Module):
    """One layer on tokens `(N, P, dim)`.

    Args:
        attention: mixes the tokens.
        dim: token width.
        hidden: width inside the MLP.
        dropout: inside the MLP and on the branches.
        activation: of the MLP.
        norm: makes a norm from `dim`.
        pre_norm: norms in front, see the module.
        bias: of the MLP.
    """

    def __init__(
        self,
        attention: ResidualAttention,
        dim: int,
        hidden: int,
        dropout: float,
        activation: type[nn.Module],
        norm: Callable[[int], nn.Module],
        pre_norm: bool,
        bias: bool = True,
    ):
        super().__init__()
        self.attention, self.dropout, self.pre_norm = attention, dropout, pre_norm
        self.expand, self.contract = nn.Linear(dim, hidden, bias=bias), nn.Linear(hidden, dim, bias=bias)
        self.norm1, self.norm2 = norm(dim), norm(dim)
        self.activation = activation()

    def forward(self, x: Tensor, previous: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x and the scores of the layer before to the new x and the scores of this one."""
        x = self.norm1(x) if self.pre_norm else x
        mixed, scores = self.attention(x, previous)
        # The release has two dropouts here, behind the projection and on the branch.
        mixed = dropout(dropout(mixed, self.dropout, self.training), self.dropout, self.training)
        x = x + mixed if self.pre_norm else self.norm1(x + mixed)
        x = self.norm2(x) if self.pre_norm else x
        inner = dropout(self.activation(self.expand(x)), self.dropout, self.training)
        x = x + dropout(self.contract(inner), self.dropout, self.training)
        return (x if self.pre_norm else self.norm2(x)), scores
