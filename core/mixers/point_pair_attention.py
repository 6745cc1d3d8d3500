"""Local attention that rotations leave alone (RoITr, Yu et al. 2023): each point attends to its K nearest others, and
where they stand enters through the features f_ij of the pair alone (`core.ops.point_pairs`):

    logit_ij = q_i . (k_j + P e_ij) / sqrt(d),   e_ij = W_e f_ij
    y_i      = W_o sum_j softmax_j(logit_ij) (v_j + V e_ij)

In the release LN(x + y) follows, which is a `PostNorm` block.

Coordinates are places, of up to three numbers, or places and normals, six; a point without a normal counts with
distances alone. Tokens of a grid stand at its coordinates, without normals.

Decided: of K coincident neighbours the release drops the nearest and means the point itself; here it is left out by
its number. A point alone in its set attends to nothing. W_e, P and V are linear, so that they are multiplied once
and what is computed a pair and head are four products.
"""

__all__ = ["PointPairAttention"]

import torch
from torch import Tensor, nn

from core.layout import Ragged, Tokens, coordinates, grid_of, pack, unpack
from core.mixers.base import Mixer, init_linear
from core.ops.neighbours import nearest, nearest_ragged
from core.ops.point_pairs import pair_attend, pair_features, places_and_normals


class PointPairAttention(Mixer):
    """Points attend to their nearest neighbours by content and point-pair features.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        neighbours: how many points each attends to, fewer where the set is smaller.

    Raises:
        ValueError: where the number of heads does not divide dim or there are no neighbours.
    """

    def __init__(self, dim: int, heads: int, *, neighbours: int = 16) -> None:
        super().__init__()
        if heads < 1 or dim % heads or neighbours < 1:
            raise ValueError(
                f"PointPairAttention: dim {dim}, {heads} heads, {neighbours} neighbours; "
                "give a number of heads that divides dim and at least one neighbour"
            )
        self.heads, self.neighbours = heads, neighbours
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.embed = nn.Linear(4, dim)
        self.pair_key, self.pair_value = nn.Linear(dim, dim), nn.Linear(dim, dim)
        init_linear(self.q, self.k, self.v, self.out, self.embed, self.pair_key, self.pair_value)

    def forward(self, x: Tokens, *, mask: Tensor | None = None) -> Tokens:
        """x (B, *grid, dim), or Ragged with coordinates (N, up to 3) or (N, 6) and without a mask.

        Raises:
            ValueError: a mask with a ragged set, or points without coordinates.
        """
        if isinstance(x, Ragged):
            if mask is not None:
                raise ValueError("PointPairAttention: a ragged set has no padding; leave the mask out")
            return x.with_tokens(self._points(x))
        if mask is not None:
            points = pack(x, mask)
            return unpack(points.with_tokens(self._points(points)), mask)
        places, normals = self._places(coordinates(grid_of(x), device=x.device).flatten(0, -2))
        rows = nearest(places, places, self.neighbours, others=True)
        features = pair_features(places[:, None], normals[:, None], places[rows], normals[rows])
        tokens = x.flatten(1, -2)
        return self.attend(tokens, tokens, rows, features).view(x.shape)

    def attend(self, nodes: Tensor, x: Tensor, rows: Tensor, features: Tensor) -> Tensor:
        """Nodes, which may be fewer than the points, attend to given neighbours.

        Args:
            nodes: (..., M, dim).
            x: (..., N, dim).
            rows: (M, K) numbers of each node's neighbours in x, -1 for none.
            features: (M, K, 4) of the pairs, finite everywhere.

        Returns:
            (..., M, dim).
        """
        embedding = self.embed
        # What all pairs have in common belongs to keys and values.
        k = self.k(x) + self.pair_key(embedding.bias)
        v = self.v(x) + self.pair_value(embedding.bias)
        shape = *x.shape[:-2], *rows.shape, self.heads, x.shape[-1] // self.heads
        seen = rows >= 0
        near_k, near_v = (t.index_select(-2, rows.clamp(min=0).flatten()).reshape(shape) for t in (k, v))
        maps = [
            (layer.weight @ embedding.weight).unflatten(0, (self.heads, -1))
            for layer in (self.pair_key, self.pair_value)
        ]
        q = self.q(nodes).unflatten(-1, (self.heads, -1))
        return self.out(pair_attend(q, near_k, near_v, features.to(maps[0].dtype), *maps, seen=seen).flatten(-2))

    def _points(self, x: Ragged) -> Tensor:
        if x.coords is None:
            raise ValueError("PointPairAttention: points without coordinates; give Ragged(tokens, offsets, coords)")
        places, normals = self._places(x.coords)
        rows = nearest_ragged(places, places, x.offsets, x.offsets, self.neighbours, others=True)
        if not len(rows):
            return x.tokens
        # An empty slot is the pair of a point with itself, which is finite.
        near = torch.where(rows < 0, torch.arange(len(rows), device=rows.device)[:, None], rows)
        features = pair_features(places[:, None], normals[:, None], places[near], normals[near])
        return self.attend(x.tokens, x.tokens, rows, features)

    def _places(self, coords: Tensor) -> tuple[Tensor, Tensor]:
        """Places and normals, as exact as the weights."""
        return places_and_normals(coords.to(torch.promote_types(coords.dtype, self.embed.weight.dtype)))
