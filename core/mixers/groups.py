"""What every attention in groups shares: projections, heads, bias a bucket; the plan comes from the mixer around it."""

__all__ = ["GroupAttention"]

from collections.abc import Sequence

from torch import Tensor, nn

from core.mixers.base import init_linear
from core.ops.groups import attend_bucket, attend_groups
from core.partitions import BoxPlan, Plan
from core.positions import ScoreBias


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
        if dim % heads:
            raise ValueError(f"attention: dim {dim} and {heads} heads; give a number of heads that divides dim")
        self.heads = heads
        self.dropout = dropout
        self.scale = scale
        self.q = nn.Linear(dim, dim, bias=bias)
        self.k = nn.Linear(dim, dim, bias=bias)
        self.v = nn.Linear(dim, dim, bias=bias)
        self.out = nn.Linear(dim, dim)
        self.score_bias = score_bias
        init_linear(self.q, self.k, self.v, self.out)

    def forward(self, x: Tensor, plan: Plan, mask: Tensor | None) -> Tensor:
        """x (B, *grid of the plan, dim), mask (B, *grid) of real keys -> the same shape as x."""
        score_bias = self.score_bias
        dropout = self.dropout if self.training else 0.0
        if isinstance(plan, BoxPlan):
            # Queries and keys are the same tokens: they are brought into the order of the groups once, as x.
            masks: Sequence[Tensor | None] = [None] * len(plan.buckets) if mask is None else plan.split_keys(mask)
            parts = []
            for part, bucket, real in zip(plan.split_queries(x), plan.buckets, masks, strict=True):
                bias = None if score_bias is None else score_bias(bucket.pairs)
                y = attend_bucket(*self._heads(part), bucket, bias, real, scale=self.scale, dropout=dropout)
                parts.append(self.out(y.flatten(-2)))
            return plan.join(parts)
        y = attend_groups(
            *self._heads(x),
            plan,
            biases=None if score_bias is None else [score_bias(bucket.pairs) for bucket in plan.buckets],
            mask=mask,
            scale=self.scale,
            dropout=dropout,
        )
        return self.out(y.flatten(-2))

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (project(x).unflatten(-1, (self.heads, -1)) for project in (self.q, self.k, self.v))
        return q, k, v
