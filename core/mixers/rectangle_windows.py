"""Attention in lying and standing rectangles (Rwin of CAT, Chen et al. 2022; the local attention of RGT, 2024).

    y = W_o (concat_b softmax(q_b k_b^T / sqrt(d) + B_b) v_b in the rectangles of branch b  +  depthwise 3 x 3 of v)

Half of the heads attend in rectangles of h x w, the others in w x h; B is computed from differences of positions by a
small network (`core.positions.dynamic_bias`).

Decided: the release fills q, k and v with zeros up to a multiple of the longer side in both directions, and those zeros
take part in the softmax; here partial windows stay partial. `official=True` reproduces the release, but for windows
that hold nothing but zeros, which are skipped. No mask: whether an axis is shifted depends on the extent of the map.
At inference biases are kept and heads of an awkward width are filled up with zero columns (see `GroupAttention`).
"""

__all__ = ["RectangleAttention"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.layout import grid_of
from core.mixers.base import Mixer, init_linear
from core.mixers.convolution import DepthwiseConv
from core.mixers.weight_cache import WeightCache
from core.ops.depthwise import depthwise
from core.ops.groups import attend_bucket
from core.ops.reorder import reorder
from core.partitions import BoxPlan, Bucket, Windows
from core.positions import DynamicBias

# Heads up to this width are left as they are: filling up would cost more than it saves.
_NARROW = 16
# Biases of one plan with more numbers than this are computed each time.
_KEEP = 2**22


class RectangleAttention(Mixer):
    """Half of the heads attend in rectangles, the other half in those rectangles turned by a quarter.

    Args:
        dim: width of the tokens (B, H, W, dim).
        heads: even number of heads.
        window: height and width of the first half's rectangles.
        shift: where their first full rectangle starts; 0 by default. Turned for the other half, too.
        bias: whether q, k and v have one.
        scale: factor of the scores; width of a head ** -0.5 by default.
        official: fill up with zeros that attend and shift single windows, as the release does; for checkpoints.

    Raises:
        ValueError: where heads is odd or does not divide dim, or the longer side of the window is no multiple of the
            shorter although `official` fills up to it.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window: Sequence[int] = (8, 32),
        *,
        shift: Sequence[int] = (0, 0),
        bias: bool = True,
        scale: float | None = None,
        official: bool = False,
    ) -> None:
        super().__init__()
        if heads < 2 or heads % 2 or dim % heads:
            raise ValueError(f"RectangleAttention: dim {dim} and {heads} heads; give an even number that divides dim")
        if official and max(window) % min(window):
            raise ValueError(
                f"RectangleAttention: window {tuple(window)} with official=True, which fills up to the longer side; "
                "give one that is a multiple of the shorter"
            )
        self.heads = heads
        self.official = official
        width = dim // heads
        self.scale = width**-0.5 if scale is None else scale
        sizes, starts = (int(window[0]), int(window[1])), (int(shift[0]), int(shift[1]))
        self.partitions = tuple(
            Windows(size, start, shift_single=official)
            for size, start in ((sizes, starts), (sizes[::-1], starts[::-1]))
        )
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        self.local = DepthwiseConv(dim)
        self.score_biases = nn.ModuleList(DynamicBias(heads // 2, max(dim // 32, 2)) for _ in range(2))
        self.out = nn.Linear(dim, dim)
        self._cache = WeightCache(8)
        init_linear(self.qkv, self.out)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, dim)."""
        weights, biases, local, out = self._packed()
        parts, values = [], []
        for branch, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            qkv = F.linear(x, weight, bias)
            values.append(qkv[..., 2 * len(weight) // 3 :])
            parts.append(self._attend(qkv, branch))
        y = torch.cat(parts, -1) + depthwise(torch.cat(values, -1), *local)
        return F.linear(y, out, self.out.bias)

    def train(self, mode: bool = True) -> "RectangleAttention":
        """Also drops what was kept for inference."""
        self._cache.clear()
        return super().train(mode)

    def _attend(self, qkv: Tensor, branch: int) -> Tensor:
        """One branch: (B, H, W, 3 heads / 2 * d) -> (B, H, W, heads / 2 * d)."""
        height, width = qkv.shape[1:3]
        partition = self.partitions[branch]
        if self.official:
            sides = [self._extent(partition, axis, length) - length for axis, length in enumerate((height, width))]
            if any(sides):
                qkv = F.pad(qkv, (0, 0, 0, sides[1], 0, sides[0]))
        grid, batch = grid_of(qkv), len(qkv)
        plan = partition.plan(grid, device=qkv.device)
        assert isinstance(plan, BoxPlan)
        rows, back = plan.order(batch)
        tokens = reorder(qkv.flatten(0, 2), rows, back).unflatten(-1, (3, self.heads // 2, -1))
        sizes = [batch * len(places) for places in plan.places]
        parts = []
        for part, (bucket, bias) in zip(tokens.split(sizes), self._biases(plan, branch), strict=True):
            q, k, v = part.unflatten(0, (batch, -1, bucket.slots)).unbind(3)
            parts.append(attend_bucket(q, k, v, bucket, bias, None, scale=self.scale).flatten(0, 2))
        y = reorder((torch.cat(parts) if len(parts) > 1 else parts[0]).flatten(1), back, rows)
        return y.view(batch, *grid, -1)[:, :height, :width]

    def _extent(self, partition: Windows, axis: int, length: int) -> int:
        """Where the last window that holds a token ends, on a map filled up to a multiple of the longer side."""
        window, shift = partition.window[axis] or length, partition.shift[axis]
        longest = max(size or 0 for size in partition.window)
        end = shift + -(-max(length - shift, 0) // window) * window
        return min(end, -(-length // longest) * longest)

    def _biases(self, plan: BoxPlan, branch: int) -> list[tuple[Bucket, Tensor]]:
        """Each bucket with its bias; what it forbids is put into the bias where nothing learns."""
        score_bias = self.score_biases[branch]

        def make() -> list[tuple[Bucket, Tensor]]:
            rows = []
            made: dict[tuple[int, ...] | None, Tensor] = {}
            for bucket in plan.buckets:
                # Windows of one shape have the same differences; a shifted map has several buckets of full ones.
                if bucket.shape not in made:
                    made[bucket.shape] = score_bias(bucket.pairs)
                bias = made[bucket.shape]
                if bucket.allowed is not None and not torch.is_grad_enabled():
                    bias = torch.where(bucket.allowed[:, None], bias, -torch.inf)
                    bucket = bucket._replace(allowed=None)
                rows.append((bucket, bias))
            return rows

        numbers = sum(self.heads // 2 * b.slots**2 * (1 if b.allowed is None else len(b.allowed)) for b in plan.buckets)
        return make() if numbers > _KEEP else self._cache.get((plan, branch), list(score_bias.parameters()), make)

    def _packed(self) -> tuple[list[Tensor], list[Tensor | None], tuple[Tensor, Tensor | None], Tensor]:
        """Weights and biases of each branch's q, k and v, of the depthwise convolution, and the weight of the output.

        A head is filled up with zeros to a multiple of 8.
        """
        width = self.out.in_features // self.heads
        missing = -width % 8 if width > _NARROW else 0
        qkv, qkv_bias, local, local_bias, out = (
            self.qkv.weight,
            self.qkv.bias,
            self.local.weight,
            self.local.bias,
            self.out.weight,
        )

        def filled(weight: Tensor, axis: int = 0) -> Tensor:
            """Zeros at the end of each head along an axis of `dim` (or 3 dim) entries."""
            if not missing:
                return weight
            heads = weight.unflatten(axis, (-1, width))
            return F.pad(heads, [0, 0] * (weight.ndim - axis - 1) + [0, missing]).flatten(axis, axis + 1)

        def halves(weight: Tensor) -> list[Tensor]:
            """(3 dim, ...) -> one (3 dim / 2, ...) a branch."""
            return [part.flatten(0, 1) for part in filled(weight).unflatten(0, (3, 2, -1)).unbind(1)]

        def make() -> tuple[list[Tensor], list[Tensor | None], tuple[Tensor, Tensor | None], Tensor]:
            biases: list[Tensor | None] = [None, None] if qkv_bias is None else [*halves(qkv_bias)]
            own = filled(local), None if local_bias is None else filled(local_bias)
            return halves(qkv), biases, own, filled(out, 1)

        weights = [w for w in (qkv, qkv_bias, local, local_bias, out) if w is not None]
        return self._cache.get("packed", weights, make)
