"""Attention of whole point sets that rotations leave alone, to themselves and to another set (the global transformer
of RoITr, Yu et al. 2023, after GeoTransformer, Qin et al. 2022). Blocks of two kinds over tokens x:

    own    logit_ij = q_i . (k_j + P e_ij) / sqrt(d),   value v_j + V e_ij
    cross  logit_ij = q_i . k_j / sqrt(d) over the other set, value v_j; with `cross_embedding` the largest e over a
           point's pairs is added to its query, key and value through maps of their own

    e_ij = n / |n|,   n = W_e sinusoids(f_ij)      f_ij: point-pair features of `core.ops.point_pairs`
    x <- LN(x + W_o attention);   x <- LN(x + W_2 relu(W_1 x))

Both sets go through the same weights. In a cross block x attends to the other set first and the other set then to the
updated x. Places reach the result through distances and angles inside each set, so that both may be turned apart.

Coordinates are those of `PointPairAttention`. Sinusoids carry no gradient, as in the release.

Decided: e_ij is kept once a set for all blocks, while its maps P and V are never computed a pair (dim / heads times
fewer products). Sets of unequal size run one by one, without padding. Without a context a cross block attends to its
own set.
"""

__all__ = ["PointPairTransformer"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.channels import MLP
from core.layout import Ragged, Tokens, coordinates, grid_of, pack, unpack
from core.mixers.base import Mixer, init_linear
from core.ops.attend import attend
from core.ops.point_pairs import pair_attend, pair_features, pair_sinusoids, places_and_normals


class PointPairTransformer(Mixer):
    """Blocks of attention of a set to itself and to another.

    Args:
        dim: width of the tokens, a multiple of 8.
        heads: number of heads.
        cross: for each block whether it attends to the other set.
        cross_embedding: places enter the cross blocks too.

    Raises:
        ValueError: widths that do not divide.
    """

    def __init__(
        self, dim: int, heads: int, cross: Sequence[bool] = (False, True), *, cross_embedding: bool = False
    ) -> None:
        super().__init__()
        if dim % 8 or heads < 1 or dim % heads:
            raise ValueError(
                f"PointPairTransformer: dim {dim} and {heads} heads; give a multiple of 8 and heads that divide it"
            )
        self.dim = dim
        self.embed = nn.Linear(dim, dim)
        init_linear(self.embed)
        self.blocks = nn.ModuleList(
            _Cross(dim, heads, cross_embedding) if other else _Own(dim, heads) for other in cross
        )
        self._embeds = cross_embedding or not all(cross)

    def forward(
        self,
        x: Tokens,
        *,
        mask: Tensor | None = None,
        context: Tensor | Ragged | None = None,
        context_mask: Tensor | None = None,
    ) -> Tokens:
        """x (B, *grid, dim), or Ragged with coordinates and without masks; the context of the same kind and width.

        Raises:
            ValueError: where a grid meets a ragged set, a ragged set a mask, or points have no coordinates.
        """
        if isinstance(x, Ragged):
            if mask is not None or context_mask is not None or isinstance(context, Tensor):
                raise ValueError(
                    "PointPairTransformer: a ragged set takes a ragged context and no masks; pack the context"
                )
            return self._points(x) if context is None else self.both(x, context)[0]
        if isinstance(context, Ragged):
            raise ValueError(
                "PointPairTransformer: a grid of tokens with a ragged context; pack the tokens or pad the context"
            )
        if mask is None and context_mask is None:
            other = None if context is None else context.flatten(1, -2)
            pairs = None if context is None else self._grid_pairs(context)
            return self.mix(x.flatten(1, -2), self._grid_pairs(x), other, pairs)[0].view(x.shape)
        mask = torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device) if mask is None else mask
        packed = pack(x, mask)
        if context is None:
            return unpack(self._points(packed), mask)
        if context_mask is None:
            context_mask = torch.ones(context.shape[:-1], dtype=torch.bool, device=x.device)
        return unpack(self.both(packed, pack(context, context_mask))[0], mask)

    def both(self, x: Ragged, context: Ragged) -> tuple[Ragged, Ragged]:
        """Two batches of point sets after all blocks, both updated: what registration matches.

        Raises:
            ValueError: where they differ in their number of sets.
        """
        if x.batch != context.batch:
            raise ValueError(f"PointPairTransformer: {x.batch} sets and {context.batch} of context; give as many")
        made = [
            self.mix(own.tokens[None], self._pairs(own), other.tokens[None], self._pairs(other))
            for own, other in zip(x.segments(), context.segments(), strict=True)
        ]
        first, second = (torch.cat([tokens[0] for tokens in side]) for side in zip(*made, strict=True))
        return x.with_tokens(first), context.with_tokens(second)

    def mix(
        self, x: Tensor, pairs: Tensor, other: Tensor | None = None, other_pairs: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Sets of one size whose pairs are given.

        Args:
            x: (B, n, dim).
            pairs: (n, n, 4) or (B, n, n, 4) features of x's pairs.
            other: (B, m, dim), the other set; None = x itself.
            other_pairs: its features.

        Returns:
            Both sets, updated.
        """
        e = self._embedding(pairs) if self._embeds else None
        other_e = None if other is None or other_pairs is None or not self._embeds else self._embedding(other_pairs)
        for block in self.blocks:
            if isinstance(block, _Own):
                assert e is not None
                x = block(x, e)
                if other is not None:
                    assert other_e is not None
                    other = block(other, other_e)
            elif other is None:
                x = block(x, x, e, e)
            else:
                x = block(x, other, e, other_e)
                other = block(other, x, other_e, e)
        return x, other

    def _points(self, x: Ragged) -> Ragged:
        made = [self.mix(own.tokens[None], self._pairs(own))[0][0] for own in x.segments()]
        return x.with_tokens(torch.cat(made) if made else x.tokens)

    def _embedding(self, pairs: Tensor) -> Tensor:
        return F.normalize(self.embed(pair_sinusoids(pairs.detach(), self.dim).to(self.embed.weight.dtype)), dim=-1)

    def _grid_pairs(self, x: Tensor) -> Tensor:
        return self._all_pairs(coordinates(grid_of(x), device=x.device).flatten(0, -2))

    def _pairs(self, x: Ragged) -> Tensor:
        if x.coords is None:
            raise ValueError("PointPairTransformer: points without coordinates; give Ragged(tokens, offsets, coords)")
        return self._all_pairs(x.coords)

    def _all_pairs(self, coords: Tensor) -> Tensor:
        places, normals = places_and_normals(coords.to(torch.promote_types(coords.dtype, self.embed.weight.dtype)))
        return pair_features(places[:, None], normals[:, None], places, normals)


class _Block(nn.Module):
    """What follows the attention of both kinds of blocks."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.norm, self.feed, self.feed_norm = (
            nn.LayerNorm(dim),
            MLP(dim, 2 * dim, activation=nn.ReLU),
            nn.LayerNorm(dim),
        )
        init_linear(self.q, self.k, self.v, self.out)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1))

    def _finish(self, x: Tensor, attended: Tensor) -> Tensor:
        x = self.norm(x + self.out(attended.flatten(-2)))
        return self.feed_norm(x + self.feed(x))


class _Own(_Block):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(dim, heads)
        self.pair_key, self.pair_value = nn.Linear(dim, dim), nn.Linear(dim, dim)
        init_linear(self.pair_key, self.pair_value)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """x (B, n, dim), e (n, n, dim) or one a sample."""
        # The maps' biases belong to keys and values.
        k = self._split(self.k(x) + self.pair_key.bias)[:, None]
        v = self._split(self.v(x) + self.pair_value.bias)[:, None]
        maps = (layer.weight.unflatten(0, (self.heads, -1)) for layer in (self.pair_key, self.pair_value))
        return self._finish(x, pair_attend(self._split(self.q(x)), k, v, e, *maps))


class _Cross(_Block):
    def __init__(self, dim: int, heads: int, embedding: bool) -> None:
        super().__init__(dim, heads)
        self.place_q, self.place_k, self.place_v = (nn.Linear(dim, dim) if embedding else None for _ in range(3))
        init_linear(*(layer for layer in (self.place_q, self.place_k, self.place_v) if layer is not None))

    def forward(self, x: Tensor, other: Tensor, e: Tensor | None, other_e: Tensor | None) -> Tensor:
        """x (B, n, dim) attends to other (B, m, dim); their embeddings are None where places do not enter."""
        q, k, v = self.q(x), self.k(other), self.v(other)
        if self.place_q is not None and self.place_k is not None and self.place_v is not None:
            assert e is not None and other_e is not None
            own, theirs = _largest(e), _largest(other_e)
            q, k, v = q + self.place_q(own), k + self.place_k(theirs), v + self.place_v(theirs)
        y = attend(*(self._split(t).transpose(-3, -2) for t in (q, k, v)))
        return self._finish(x, y.transpose(-3, -2))


def _largest(e: Tensor) -> Tensor:
    """(..., n, dim) over each point's pairs."""
    return e.amax(-2) if e.shape[-2] else e.new_zeros(*e.shape[:-2], e.shape[-1])
