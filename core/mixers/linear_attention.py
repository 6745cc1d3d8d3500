"""Linear attention (Katharopoulos et al. 2020), self, cross and causal with a constant state.

    y = W_o concat_h phi(q) S / (phi(q) . z + eps),  S = sum_j phi(k_j) v_j^T,  z = sum_j phi(k_j)

over all tokens, over a context, or (causal) over j <= i. phi = elu + 1 as in the paper; phi(q) is scaled by d^-1/2,
which cancels but for eps (as in fla).
"""

__all__ = ["LinearAttention", "elu_plus_one"]

from collections.abc import Callable

import torch
from torch import Tensor, nn

from core.layout import Ragged, Tokens, grid_of, zero_padding
from core.mixers.base import Mixer, init_linear
from core.ops.linear import causal_linear_attention, linear_attention
from core.ops.segment_linear import segment_linear_attention
from core.partitions import segment_plan


def elu_plus_one(x: Tensor) -> Tensor:
    """elu(x) + 1, positive everywhere."""
    # Not F.elu: compiled without inductor, its backward disagrees with itself about strides (torch 2.14).
    return torch.relu(x) + x.clamp(max=0).exp()


class LinearAttention(Mixer):
    """Attention with a product of features instead of a softmax; cost linear in the number of tokens.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        context_dim: width of the context; dim by default.
        causal: a token attends to itself and those before it; a context is seen whole.
        feature: the feature map phi of heads (..., d), non-negative.
        bias: whether q, k and v have one.
        eps: added to the normaliser.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        context_dim: int | None = None,
        causal: bool = False,
        feature: Callable[[Tensor], Tensor] = elu_plus_one,
        bias: bool = True,
        eps: float = 1e-10,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"LinearAttention: dim {dim} and {heads} heads; give a number of heads that divides dim")
        self.heads = heads
        self.causal = causal
        self.feature = feature
        self.eps = eps
        self.q = nn.Linear(dim, dim, bias=bias)
        self.k = nn.Linear(context_dim or dim, dim, bias=bias)
        self.v = nn.Linear(context_dim or dim, dim, bias=bias)
        self.out = nn.Linear(dim, dim)
        init_linear(self.q, self.k, self.v, self.out)

    def forward(
        self,
        x: Tokens,
        *,
        mask: Tensor | None = None,
        context: Tensor | Ragged | None = None,
        context_mask: Tensor | None = None,
    ) -> Tokens:
        """x (B, *grid, dim) or Ragged; a Ragged x takes a Ragged context and no masks.

        Raises:
            ValueError: where a grid meets a ragged set, or a ragged set a mask.
        """
        causal = self.causal and context is None
        if isinstance(x, Ragged):
            if mask is not None or context_mask is not None or not (context is None or isinstance(context, Ragged)):
                raise ValueError("LinearAttention: a ragged set takes a ragged context and no masks; pack the context")
            return x.with_tokens(self._ragged(x, x if context is None else context, causal))
        if isinstance(context, Ragged):
            raise ValueError("LinearAttention: a grid with a ragged context; pack the tokens or pad the context")
        x = zero_padding(x, mask)
        other, real = (x, mask) if context is None else (zero_padding(context, context_mask), context_mask)
        grid = grid_of(x)
        q, k, v = self._features(x.flatten(1, -2), other.flatten(1, -2))
        if real is not None:
            k = k.masked_fill(~real.flatten(1)[:, :, None, None], 0)
        y = self._mix(q, k, v, causal)
        return zero_padding(self.out(y.flatten(2)).unflatten(1, grid), mask)

    def initial_state(
        self, batch: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, ...]:
        """S and z in one tensor (B, heads, d, d + 1), all 0; float32 at least."""
        self._check_step()
        width = self.q.out_features // self.heads
        dtype = torch.promote_types(dtype or torch.get_default_dtype(), torch.float32)
        return (torch.zeros(batch, self.heads, width, width + 1, device=device, dtype=dtype),)

    def step(self, x_t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One token (B, dim)."""
        y, state = self.extend(x_t[:, None], state)
        return y[:, 0], state

    def extend(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The next T tokens (B, T, dim) at once."""
        self._check_step()
        q, k, v = (t.transpose(1, 2) for t in self._features(x, x))
        y, after = causal_linear_attention(q, k, v, initial_state=state[0], eps=self.eps)
        return self.out(y.transpose(1, 2).flatten(2)), (after,)

    def _features(self, x: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """phi(q), phi(k) and v with heads (..., H, d)."""
        q, k, v = (
            project(t).unflatten(-1, (self.heads, -1)) for project, t in ((self.q, x), (self.k, other), (self.v, other))
        )
        return self.feature(q) * q.shape[-1] ** -0.5, self.feature(k), v

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        """(..., T, H, d) -> (..., T, H, d)."""
        q, k, v = (t.transpose(-3, -2) for t in (q, k, v))
        if causal:
            return causal_linear_attention(q, k, v, eps=self.eps)[0].transpose(-3, -2)
        return linear_attention(q, k, v, eps=self.eps).transpose(-3, -2)

    def _ragged(self, x: Ragged, other: Ragged, causal: bool) -> Tensor:
        q, k, v = self._features(x.tokens, other.tokens)
        if not causal:
            return self.out(segment_linear_attention(q, k, v, x.offsets, other.offsets, eps=self.eps).flatten(1))
        plan = segment_plan(x, other)
        # Empty slots hold zero features, which add nothing to the sums.
        parts = zip(plan.split_queries(q[None]), plan.split_keys(k[None]), plan.split_keys(v[None]), strict=True)
        y = plan.join([self._mix(*part, causal) for part in parts])[0]
        return self.out(y.flatten(1))

    def _check_step(self) -> None:
        if not self.causal:
            raise ValueError("LinearAttention: step needs causal=True; without it a token depends on those after it")
