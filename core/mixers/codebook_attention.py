"""Attention to a learnt codebook of the tokens themselves (GOAT, Kong et al. 2023; LargeGT, Dwivedi et al. 2023): a
global view at a cost that does not depend on how many tokens there are.

    y = concat_h softmax_m(q . k_m / sqrt(d) + log n_m) v_m,   k_m = W_k c_m,  v_m = W_v c_m[: value_dim]

with codes c_m that follow the tokens (`core.codebook`) and n_m how many of these each code stands for, so that the sum
over codes stands for one over tokens.  Codes are learnt after the attention of the same step; the first step learns
them before, as there are none.  What is learnt depends on the tokens of all processes together.

As published there is no projection behind it.  A codebook without any code, before training, gives 0.
"""

__all__ = ["CodebookAttention"]

from torch import Tensor, nn

from core.codebook import EMACodebook
from core.layout import grid_of, zero_padding
from core.mixers.base import Mixer, init_linear
from core.ops.attend import attend


class CodebookAttention(Mixer):
    """Tokens attend to codes.

    Args:
        dim: width of the tokens and of the codes.
        heads: number of heads.
        codes: number of codes.
        head_dim: width of a head; dim / heads by default. The result is heads * head_dim wide.
        value_dim: of each code, that much from its beginning makes the values; dim by default.
        decay: of the codebook's averages.
        dropout: share of attention weights dropped in training.
        official: the release's codebook.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        codes: int,
        *,
        head_dim: int | None = None,
        value_dim: int | None = None,
        decay: float = 0.99,
        dropout: float = 0.0,
        official: bool = False,
    ) -> None:
        super().__init__()
        if head_dim is None and dim % heads:
            raise ValueError(f"CodebookAttention: dim {dim} and {heads} heads; give a number of heads that divides dim")
        inner = heads * (head_dim or dim // heads)
        self.heads, self.value_dim, self.dropout = heads, value_dim or dim, dropout
        self.codebook = EMACodebook(dim, codes, decay, official=official)
        self.q, self.k = nn.Linear(dim, inner), nn.Linear(dim, inner)
        self.v = nn.Linear(self.value_dim, inner)
        init_linear(self.q, self.k, self.v)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, *grid, dim) -> (B, *grid, heads * head_dim)."""
        tokens = zero_padding(x, mask).flatten(0, -2)
        real = tokens if mask is None else tokens[mask.flatten()]
        first = self.training and not self.codebook.official and not self.codebook.size.any()
        if first:
            self.codebook(real)
        y = self.attend(tokens, self.codebook.size)
        if self.training and not first:
            self.codebook(real)
        return zero_padding(y.unflatten(0, (len(x), *grid_of(x))), mask)

    def attend(self, x: Tensor, counts: Tensor) -> Tensor:
        """x (n, dim) -> (n, heads * head_dim), without learning.

        Args:
            x: the tokens.
            counts: (codes,) what each code stands for; 0 leaves it out.
        """
        # A copy: the codebook is written to before the backward pass reads it.
        codes = self.codebook.output.to(x.dtype).clone() if self.training else self.codebook.output.to(x.dtype)
        q, k, v = (
            layer(t).unflatten(-1, (self.heads, -1)).transpose(0, 1)
            for layer, t in ((self.q, x), (self.k, codes), (self.v, codes[:, : self.value_dim]))
        )
        alive = counts > 0
        bias = counts.to(x.dtype).where(alive, 1).log()
        y = attend(q, k, v, bias=bias, mask=alive, dropout=self.dropout if self.training else 0.0)
        return y.transpose(0, 1).flatten(1)
