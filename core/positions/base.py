"""Where position may enter, and what a class at each place is called with.

1. Added to x: a module `position(x) -> x + p`; see `absolute`.
2. Rotating q and k: `rotary(q, coords) -> q`, coordinates of the map; see `rotary`.
3. Biasing scores: a `ScoreBias`; it reads a `Pairs` object, local or map coordinates; see `relative`, `mlp_bias`.
   Terms that also depend on q and k are computed by the mixer that has them and given to `attend_groups` as biases.
4. Multiplying after the softmax: needs the plain form of attention; part of the mixer that has it.
5. A branch on the values: `branch(v, mask) -> v'`, on the map or on a group's own grid; see `lepe`.
6. Values that belong to a pair: part of the mixer that has them.
"""

__all__ = ["ScoreBias"]

from torch import Tensor, nn

from core.partitions import Pairs


class ScoreBias(nn.Module):
    """Adds to attention scores what depends on positions alone.

    `forward(pairs)` gives (G or 1, heads, n, m) for the n queries and m keys of a bucket's groups. What it computes
    from coordinates alone is kept by `pairs.derived`, never in a buffer: averaging weights would average it, and a
    checkpoint would carry it.

    Attributes:
        local: whether it reads local coordinates alone, so that groups of one shape have the same.
    """

    local: bool = False

    def forward(self, pairs: Pairs) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} does not define forward(pairs)")
