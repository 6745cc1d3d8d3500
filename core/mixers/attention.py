"""Multi-head softmax attention over all tokens (Vaswani et al. 2017): self, cross and causal with a cache.

    y = W_o concat_h softmax(q_h k_h^T / sqrt(d)) v_h,  q = W_q x, k = W_k c, v = W_v c,  c = x or the context

Decided: three projections instead of a fused one (equal in speed), since cross-attention needs them apart. The cache
has a fixed size, so that a step allocates nothing that grows; its length is a tensor and may differ by sample.
"""

__all__ = ["Attention"]

import torch
from torch import Tensor, nn

from core.layout import Ragged, Tokens, coordinates, grid_of, zero_padding
from core.mixers.base import Mixer, init_linear
from core.ops.attend import attend
from core.ops.groups import attend_ragged
from core.partitions import Pairs, Whole
from core.positions import LePE, Rotary, RotaryInterleaved, ScoreBias


class Attention(Mixer):
    """All tokens attend to all tokens, or to all tokens of a context.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        head_dim: width of a head; dim / heads by default.
        context_dim: width of the context; dim by default.
        causal: a token attends to itself and those before it; a context is seen whole.
        bias: whether q, k and v have one.
        out_bias: whether the last projection has one.
        rotary: turns q and k by their place on the map, in x's frame where the context is another map.
        score_bias: added to the scores; reads the coordinates of the whole map.
        lepe: a branch on the values; neither with a context nor causal.
        scale: factor of the scores; head_dim ** -0.5 by default.
        dropout: of attention weights.
        max_length: tokens that the cache of `step` can hold.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        head_dim: int | None = None,
        context_dim: int | None = None,
        causal: bool = False,
        bias: bool = True,
        out_bias: bool = True,
        rotary: Rotary | RotaryInterleaved | None = None,
        score_bias: ScoreBias | None = None,
        lepe: LePE | None = None,
        scale: float | None = None,
        dropout: float = 0.0,
        max_length: int = 2048,
    ) -> None:
        super().__init__()
        if head_dim is None and dim % heads:
            raise ValueError(f"Attention: dim {dim} and {heads} heads; give a number of heads that divides dim")
        if lepe is not None and causal:
            raise ValueError("Attention: lepe reaches into the future; leave it out where causal")
        self.heads = heads
        self.head_dim = dim // heads if head_dim is None else head_dim
        self.causal = causal
        self.scale = scale
        self.dropout = dropout
        self.max_length = max_length
        width = self.heads * self.head_dim
        self.q = nn.Linear(dim, width, bias=bias)
        self.k = nn.Linear(context_dim or dim, width, bias=bias)
        self.v = nn.Linear(context_dim or dim, width, bias=bias)
        self.out = nn.Linear(width, dim, bias=out_bias)
        self.rotary = rotary
        self.score_bias = score_bias
        self.lepe = lepe
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
        if isinstance(x, Ragged):
            if mask is not None or context_mask is not None or not (context is None or isinstance(context, Ragged)):
                raise ValueError("Attention: a ragged set takes a ragged context and no masks; pack the context")
            return x.with_tokens(self._ragged(x, x if context is None else context, causal=context is None))
        if isinstance(context, Ragged):
            raise ValueError("Attention: a grid of tokens with a ragged context; pack the tokens or pad the context")
        x = zero_padding(x, mask)
        other, real = (x, mask) if context is None else (zero_padding(context, context_mask), context_mask)
        grid = grid_of(x)
        q, k, v = self._heads(self.q(x)), self._heads(self.k(other)), self._heads(self.v(other))
        if self.rotary is not None:
            q = self.rotary(q, coordinates(grid, device=x.device))
            k = self.rotary(k, coordinates(grid_of(other), frame=grid, device=x.device))
        bias = None
        if self.score_bias is not None:
            bias = self.score_bias(Whole().plan(grid, grid_of(other), x.device).buckets[0].pairs)
        y = attend(
            *(t.flatten(1, -3).transpose(1, 2) for t in (q, k, v)),
            bias=bias,
            mask=None if real is None else real.flatten(1)[:, None, None, :],
            causal=self.causal and context is None,
            scale=self.scale,
            dropout=self.dropout if self.training else 0.0,
        )
        y = y.transpose(1, 2).flatten(2).unflatten(1, grid)
        if self.lepe is not None:
            if context is not None:
                raise ValueError("Attention: lepe works on x's own values; leave it out for a context")
            y = y + self.lepe(v.flatten(-2), mask)
        return zero_padding(self.out(y), mask)

    def initial_state(
        self, batch: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, ...]:
        """An empty cache: keys and values (B, heads, max_length, head_dim) and the length (B,)."""
        self._check_step()
        shape = (batch, self.heads, self.max_length, self.head_dim)
        keys = torch.zeros(shape, device=device, dtype=dtype)
        return keys, torch.zeros_like(keys), torch.zeros(batch, dtype=torch.int64, device=device)

    def step(self, x_t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One token (B, dim); see `extend`."""
        y, state = self.extend(x_t[:, None], state)
        return y[:, 0], state

    def extend(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The next T tokens (B, T, dim) at once; the cache is written in place, so a state is used once.

        Raises:
            ValueError: where the mixer is not causal or the cache is full.
        """
        self._check_step()
        keys, values, length = state
        compiling = torch.compiler.is_compiling()
        # Attention reads no further than the longest sample goes, unless a compiled graph wants fixed sizes.
        end = keys.shape[2] if compiling else int(length.max()) + x.shape[1]
        if end > keys.shape[2]:
            raise ValueError(
                f"Attention: {end} tokens for a cache of max_length {keys.shape[2]}; give a larger max_length"
            )
        q, k, v = (self._heads(project(x)) for project in (self.q, self.k, self.v))
        own = length[:, None] + torch.arange(x.shape[1], device=x.device)
        if self.rotary is not None:
            place = own[..., None].to(torch.float32)
            q, k = self.rotary(q, place), self.rotary(k, place)
        rows = torch.arange(len(x), device=x.device)[:, None]
        keys[rows, :, own] = k.to(keys.dtype)
        values[rows, :, own] = v.to(values.dtype)
        places = torch.arange(end, device=x.device)
        bias = None
        if self.score_bias is not None:
            at, of = places.to(torch.float32)[None, :, None], own.to(torch.float32)[..., None]
            bias = self.score_bias(Pairs(of, at, of, at))
        y = attend(
            q.transpose(1, 2),
            keys[:, :, :end].to(q.dtype),
            values[:, :, :end].to(q.dtype),
            bias=bias,
            mask=(places <= own[..., None])[:, None],
            scale=self.scale,
        )
        return self.out(y.transpose(1, 2).flatten(2)), (keys, values, length + x.shape[1])

    def _ragged(self, x: Ragged, other: Ragged, *, causal: bool) -> Tensor:
        if self.lepe is not None:
            raise ValueError("Attention: lepe needs a grid; leave it out for ragged sets")
        q, k, v = self._heads(self.q(x.tokens)), self._heads(self.k(other.tokens)), self._heads(self.v(other.tokens))
        if self.rotary is not None:
            if x.coords is None or other.coords is None:
                raise ValueError("Attention: rotary on a ragged set without coordinates; give Ragged(..., coords)")
            q, k = self.rotary(q, x.coords), self.rotary(k, other.coords)
        score_bias = self.score_bias
        y = attend_ragged(
            q,
            k,
            v,
            x,
            other,
            bias=None if score_bias is None else lambda bucket: score_bias(bucket.pairs),
            causal=self.causal and causal,
            scale=self.scale,
            dropout=self.dropout if self.training else 0.0,
        )
        return self.out(y.flatten(1))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, self.head_dim))

    def _check_step(self) -> None:
        if not self.causal:
            raise ValueError("Attention: step needs causal=True; without it a token depends on those after it")
