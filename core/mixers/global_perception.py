"""Global perception (GPSFormer, Wang et al. 2024), a reconstruction: no code of it was released, and what stands here
follows the abstract and summaries of the paper, which name these steps without fixing their details:

    adaptive deformable graph convolution    similar points near each other in feature space, found after every
                                             feature has moved by an offset learned from its first neighbours
    residual cross attention                 the result asks the features it came from
    multi-head attention                     over all points

Here, for features x of a point set and kNN graphs in feature space (a point is its own first neighbour):

    d_i = W_d leaky(max_j E [x_i, x_j - x_i])       j among the K nearest x of x_i
    s_i = x_i + d_i
    g_i = leaky(max_j E' [s_i, x_j - s_i])          j among the K nearest x of s_i
    r   = g + cross attention(LN g, to LN x)
    y   = r + attention(LN' r)

Positions are not read: they reach a network by its features and by `LocalFitting`.

Decided: leaky ReLU of slope 0.2 as in DGCNN; layer norms in front of attention instead of batch norms. W_d starts at
0, so that the first offsets are 0. Neighbours are chosen in the precision of the input, whatever autocast says. The
numbers of neighbours carry no gradient, offsets learn through s. Numbers cannot be expected to equal the authors'.
"""

__all__ = ["GlobalPerception"]

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.layout import Ragged, Tokens, pack, unpack
from core.mixers.attention import Attention
from core.mixers.base import Mixer, init_linear
from core.ops.edge_conv import edge_conv, edge_parts
from core.ops.neighbours import nearest, nearest_ragged


class GlobalPerception(Mixer):
    """Deformable graph convolution in feature space, cross attention to where it came from, attention over all.

    Args:
        dim: width of the tokens.
        heads: number of heads of both attentions.
        neighbours: K, fewer where the set is smaller.

    Raises:
        ValueError: without neighbours.
    """

    def __init__(self, dim: int, heads: int, *, neighbours: int = 16) -> None:
        super().__init__()
        if neighbours < 1:
            raise ValueError(f"GlobalPerception: {neighbours} neighbours; give at least one")
        self.neighbours = neighbours
        self.offset_edges, self.offset, self.edges = (
            nn.Linear(2 * dim, dim),
            nn.Linear(dim, dim),
            nn.Linear(2 * dim, dim),
        )
        init_linear(self.offset_edges, self.edges)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)
        self.graph_norm, self.norm, self.all_norm = (nn.LayerNorm(dim) for _ in range(3))
        self.cross, self.all = Attention(dim, heads), Attention(dim, heads)

    def forward(self, x: Tokens, *, mask: Tensor | None = None) -> Tokens:
        """x (B, *grid, dim), or Ragged without a mask.

        Raises:
            ValueError: a mask with a ragged set.
        """
        if isinstance(x, Ragged):
            if mask is not None:
                raise ValueError("GlobalPerception: a ragged set has no padding; leave the mask out")
            tokens, offsets = x.tokens, x.offsets
            if not len(tokens):
                return x
            g = self._graph(tokens, lambda a, b: nearest_ragged(a, b, offsets, offsets, self.neighbours))
            r = g + self.cross(x.with_tokens(self.graph_norm(g)), context=x.with_tokens(self.norm(tokens))).tokens
            return x.with_tokens(r + self.all(x.with_tokens(self.all_norm(r))).tokens)
        if mask is not None:
            return unpack(self(pack(x, mask)), mask)
        tokens = x.flatten(1, -2)
        g = self._graph(tokens, lambda a, b: nearest(a, b, self.neighbours))
        r = g + self.cross(self.graph_norm(g), context=self.norm(tokens))
        return (r + self.all(self.all_norm(r))).view(x.shape)

    def _graph(self, x: Tensor, neighbours: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Features (..., N, dim) after the deformable graph convolution."""
        # A neighbour more or less is no rounding error.
        x = x.to(self.offset.weight.dtype)
        with torch.autocast(x.device.type, enabled=False):
            moved = x + self.offset(_edges(self.offset_edges, x, x, neighbours(x, x)))
            return _edges(self.edges, moved, x, neighbours(moved, x))


def _edges(layer: nn.Linear, own: Tensor, near: Tensor, rows: Tensor) -> Tensor:
    of_own, of_near = edge_parts(layer.weight)
    return F.leaky_relu(edge_conv(F.linear(own, of_own, layer.bias), F.linear(near, of_near), rows), 0.2)
