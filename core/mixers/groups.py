"""What every attention in groups shares: projections, heads, bias a bucket; the plan comes from the mixer around it.

Decided: q, k and v are one product, and heads of an awkward width are filled up with zero columns to a multiple of 8,
because a product with that many columns takes up to 1.6 times less on a CPU (measured: 212 -> 636 columns 53, -> 640
columns 88 GFLOP/s); the scale stays that of the true width.  Tokens of a regular plan are brought into the order of
its groups by one gather, which also does the roll of shifted windows.
"""

__all__ = ["GroupAttention"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.mixers.base import init_linear
from core.mixers.weight_cache import WeightCache
from core.ops.groups import attend_bucket
from core.ops.reorder import reorder
from core.partitions import BoxPlan, Bucket, Plan
from core.positions import ScoreBias

# Heads up to this width are left as they are: filling up would cost more than it saves.
_NARROW = 16
# Addends of one plan with more numbers than this are computed each time.
_KEEP = 2**22


class GroupAttention(nn.Module):
    """W_o concat_h softmax(q_h k_h^T / sqrt(d) + bias) v_h inside the groups of a plan; a part of mixers, not a mixer.

    Args:
        dim: width of the tokens.
        heads: number of heads.
        bias: whether q, k and v have one.
        score_bias: added to the scores of each bucket.
        scale: factor of the scores; width of a head ** -0.5 by default.
        dropout: of attention weights.

    Raises:
        ValueError: where the number of heads does not divide dim.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        bias: bool,
        score_bias: ScoreBias | None,
        dropout: float,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"attention: dim {dim} and {heads} heads; give a number of heads that divides dim")
        self.heads = heads
        self.dropout = dropout
        self.scale = scale
        self.q = nn.Linear(dim, dim, bias=bias)
        self.k = nn.Linear(dim, dim, bias=bias)
        self.v = nn.Linear(dim, dim, bias=bias)
        self.out = nn.Linear(dim, dim)
        self.score_bias = score_bias
        self._cache = WeightCache()
        init_linear(self.q, self.k, self.v, self.out)

    def forward(self, x: Tensor, plan: Plan, mask: Tensor | None) -> Tensor:
        """x (B, *grid of the plan, dim), mask (B, *grid) of real keys -> the same shape as x."""
        real: Sequence[Tensor | None] = [None] * len(plan.buckets) if mask is None else plan.split_keys(mask)
        addends = self._addends(plan, mask is None)
        if isinstance(plan, BoxPlan):
            # Queries and keys are the same tokens.
            rows, back = plan.order(len(x))
            q, k, v, out = self._in_order(x.flatten(0, -2), rows, back)
            sizes = [len(x) * len(places) for places in plan.places]
            cut = zip(q.split(sizes), k.split(sizes), v.split(sizes), addends, real, plan.places, strict=True)
            parts = []
            for own, key, value, (bucket, addend), seen, places in cut:
                groups = (len(x), len(places) // bucket.slots, bucket.slots)
                heads = (own.unflatten(0, groups), key.unflatten(0, groups), value.unflatten(0, groups))
                y = self._attend(heads, bucket, addend, seen)
                parts.append(F.linear(y.flatten(0, 2).flatten(1), out, self.out.bias))
            return reorder(torch.cat(parts) if len(parts) > 1 else parts[0], back, rows).view(x.shape)
        weight, bias, out = self._packed()
        width = len(weight) // 3
        halves = (None, None) if bias is None else (bias[:width], bias[width:])
        q = F.linear(x, weight[:width], halves[0]).unflatten(-1, (self.heads, -1))
        kv = F.linear(x, weight[width:], halves[1]).unflatten(-1, (2, self.heads, -1))
        parts = []
        for own, other, (bucket, addend), seen in zip(
            plan.split_queries(q), plan.split_keys(kv), addends, real, strict=True
        ):
            key, value = other.unbind(3)
            parts.append(self._attend((own, key, value), bucket, addend, seen))
        return F.linear(plan.join(parts).flatten(-2), out, self.out.bias)

    def train(self, mode: bool = True) -> "GroupAttention":
        """Also drops what was kept for inference."""
        self._cache.clear()
        return super().train(mode)

    def _in_order(self, x: Tensor, rows: Tensor, back: Tensor) -> tuple[Tensor, ...]:
        """q, k and v (N, H, d) of tokens (N, dim) in the order of the groups, and the weight of the output.

        With gradients, tokens are projected before they are put in order, and after they are put back, because a
        product keeps its input for the backward pass and a gather keeps nothing; without, a third is gathered.
        """
        if torch.is_grad_enabled():
            weight, bias, out = self._packed()
            q, k, v = reorder(F.linear(x, weight, bias), rows, back).unflatten(-1, (3, self.heads, -1)).unbind(1)
            return q, k, v, out
        x = x.index_select(0, rows)
        if not self._missing and x.device.type == "cpu":
            # Nothing to pack: three products take as long as one.
            return *(layer(x).unflatten(-1, (self.heads, -1)) for layer in (self.q, self.k, self.v)), self.out.weight
        weight, bias, out = self._packed()
        return *F.linear(x, weight, bias).unflatten(-1, (3, self.heads, -1)).unbind(1), out

    def _attend(
        self, qkv: tuple[Tensor, Tensor, Tensor], bucket: Bucket, bias: Tensor | None, real: Tensor | None
    ) -> Tensor:
        """q (B, G, n, H, d), k and v (B, G, m, H, d) -> (B, G, n, H, d)."""
        scale = (self.q.out_features // self.heads) ** -0.5 if self.scale is None else self.scale
        dropout = self.dropout if self.training else 0.0
        return attend_bucket(*qkv, bucket, bias, real, scale=scale, dropout=dropout)

    def _addends(self, plan: Plan, merged: bool) -> list[tuple[Bucket, Tensor | None]]:
        """Each bucket with the addend of its scores.

        Args:
            plan: whose buckets.
            merged: put what a regular bucket forbids into the addend, where gradients do not need them apart.
        """
        score_bias = self.score_bias
        if score_bias is None:
            return [(bucket, None) for bucket in plan.buckets]

        def make() -> list[tuple[Bucket, Tensor | None]]:
            rows = []
            made: dict[tuple[int, ...] | None, Tensor] = {}
            for bucket in plan.buckets:
                # Boxes of one shape have the same local coordinates; a shifted map has several buckets of full windows.
                alike = isinstance(plan, BoxPlan) and score_bias.local
                addend = made[bucket.shape] if alike and bucket.shape in made else score_bias(bucket.pairs)
                made[bucket.shape] = addend
                if merged and bucket.allowed is not None and bucket.shape is not None and not torch.is_grad_enabled():
                    addend = torch.where(bucket.allowed[:, None], addend, -torch.inf)
                    bucket = bucket._replace(allowed=None)
                rows.append((bucket, addend))
            return rows

        if sum(_size(bucket, self.heads) for bucket in plan.buckets) > _KEEP:
            return make()
        return self._cache.get((plan, merged), list(score_bias.parameters()), make)

    @property
    def _missing(self) -> int:
        """Columns that a head is filled up with."""
        width = self.q.out_features // self.heads
        return -width % 8 if width > _NARROW else 0

    def _packed(self) -> tuple[Tensor, Tensor | None, Tensor]:
        """Weight (3 H d, dim) and bias of q, k and v in one, weight (dim, H d) of the output; d a multiple of 8."""
        layers = (self.q, self.k, self.v)
        weights: list[Tensor] = [layer.weight for layer in layers]
        biases: list[Tensor] = [layer.bias for layer in layers if layer.bias is not None]
        width, missing = self.q.out_features // self.heads, self._missing

        def make() -> tuple[Tensor, Tensor | None, Tensor]:
            weight, bias = torch.cat(weights), torch.cat(biases) if biases else None
            out = self.out.weight
            if missing:
                weight = F.pad(weight.unflatten(0, (-1, width)), (0, 0, 0, missing)).flatten(0, 1)
                out = F.pad(out.unflatten(1, (-1, width)), (0, missing)).flatten(1)
                if bias is not None:
                    bias = F.pad(bias.view(-1, width), (0, missing)).flatten()
            return weight, bias, out

        return self._cache.get("packed", [*weights, *biases, self.out.weight], make)


def _size(bucket: Bucket, heads: int) -> int:
    """Numbers in the addend of a bucket, at most."""
    pairs = bucket.pairs
    groups = max(len(pairs.queries), len(pairs.keys), 1 if bucket.allowed is None else len(bucket.allowed))
    return groups * heads * pairs.queries.shape[1] * pairs.keys.shape[1]
