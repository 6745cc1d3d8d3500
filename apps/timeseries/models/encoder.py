"""The transformer layer of the peers: fused q, k, v, softmax attention, MLP; norms after or before.

Vaswani et al., NeurIPS 2017 (after); Xiong et al., ICML 2020 (before)::

    after    x = norm1(x + attention(x));  x = norm2(x + mlp(x))
    before   x = x + attention(norm1(x));  x = x + mlp(norm2(x))

Dropout (one rate) on the attention weights, inside the MLP and on both branches.  Source of the facts: thuml's
`layers/Transformer_EncDec.py` (after, MLP as 1 x 1 convolutions) and torch's `nn.TransformerEncoderLayer` (before).
"""

__all__ = ["EncoderLayer"]

import torch.nn.functional as F
from torch import Tensor, nn

from core.ops.dropout import dropout


class EncoderLayer(nn.Module):
    """One layer on tokens `(B, N, dim)`.

    Args:
        dim: token width.
        heads: attention heads, a divisor of `dim`.
        hidden: width inside the MLP.
        dropout: on attention weights, inside the MLP and on the branches.
        activation: of the MLP.
        pre_norm: normalise the input of a branch instead of the sum.

    Raises:
        ValueError: `dim` is no multiple of `heads`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        dropout: float = 0.0,
        activation: type[nn.Module] = nn.GELU,
        pre_norm: bool = False,
    ):
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} is not a multiple of heads {heads}")
        self.heads, self.dropout, self.pre_norm = heads, dropout, pre_norm
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.expand, self.contract = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        if self.pre_norm:
            x = x + self._attention(self.norm1(x))
            return x + self._mlp(self.norm2(x))
        x = self.norm1(x + self._attention(x))
        return self.norm2(x + self._mlp(x))

    def _attention(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return dropout(self.out(mixed.transpose(1, 2).flatten(2)), self.dropout, self.training)

    def _mlp(self, x: Tensor) -> Tensor:
        inner = dropout(self.activation(self.expand(x)), self.dropout, self.training)
        return dropout(self.contract(inner), self.dropout, self.training)
