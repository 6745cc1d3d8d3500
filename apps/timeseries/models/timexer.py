"""TimeXer: patches of the target attend to each other, a global token attends to the exogenous series.

Wang et al., "TimeXer: Empowering Transformers for Time Series Forecasting with Exogenous Variables", NeurIPS 2024.
Every target gives P patch tokens and one learned global token; every exogenous or calendar series gives one token, a
Linear over its whole look-back.  A layer (post-norm) is

    x = norm1(x + SelfAttention(x))            over the P + 1 tokens of one target
    g = norm2(g + CrossAttention(g, exo))      g the global token, exo the same for all layers
    x = norm3(x + MLP(x))

and the flattened tokens of a target give its forecast by one Linear that all targets share.

Equal to the release (thuml/TimeXer 7601190) with past covariates only.  Decided differently:
- covariates known for the horizon and the calendar of the horizon are inputs (`num_feat_dynamic_real`,
  `future_time_feat`); the release reads neither, its decoder input is built and thrown away;
- a look-back that is no multiple of the patch is padded in front, so the newest steps are kept (`drop_tail=True`
  drops them as the release does);
- there is no dropout on the forecast itself (`head_dropout`, the release has it equal to `dropout`);
- missing values, static attributes and probabilistic heads.
"""

__all__ = ["TimeXer", "TimeXerLayer"]

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from apps.timeseries.heads import Head, Point
from apps.timeseries.models.normalize import window_statistics
from core.positions import sinusoid


class TimeXerLayer(nn.Module):
    """One layer; keys and values of the exogenous tokens come ready made, because they are the same input in all.

    Args:
        dim: token width.
        heads: attention heads.
        hidden: width inside the MLP.
        dropout: on attention weights, branches and inside the MLP.
        activation: of the MLP.
    """

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float = 0.0, activation: type[nn.Module] = nn.GELU):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.cross_q = nn.Linear(dim, dim)
        self.cross_out = nn.Linear(dim, dim)
        self.expand = nn.Linear(dim, hidden)
        self.contract = nn.Linear(hidden, dim)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.activation = activation()

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, real: Tensor | None = None) -> Tensor:
        """x `(B, K, P + 1, dim)` with the global token last; keys, values `(B, heads, T, dim / heads)`;
        real `(B, K, P + 1)` bool, False for patches without any observed step."""
        batch, targets, tokens, _ = x.shape
        drop = self.dropout if self.training else 0.0
        q, k, v = self.qkv(x).view(batch * targets, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mask = None if real is None else real.view(batch * targets, 1, 1, tokens)
        mixed = F.scaled_dot_product_attention(q, k, v, mask, drop).transpose(1, 2).reshape(x.shape)
        x = self.norm1(x + F.dropout(self.out(mixed), drop, self.training))
        g = x[:, :, -1]
        if keys.shape[2]:
            q = self.cross_q(g).view(batch, targets, self.heads, -1).transpose(1, 2)
            mixed = F.scaled_dot_product_attention(q, keys, values, None, drop).transpose(1, 2).reshape(g.shape)
        else:
            mixed = torch.zeros_like(g)
        g = self.norm2(g + F.dropout(self.cross_out(mixed), drop, self.training))
        x = torch.cat([x[:, :, :-1], g.unsqueeze(2)], dim=2)
        inner = F.dropout(self.activation(self.expand(x)), drop, self.training)
        return self.norm3(x + F.dropout(self.contract(inner), drop, self.training))


class PatchTokens(nn.Module):
    """Patches of each target as tokens with a sinusoidal position, then its learned global token.

    Args:
        context_length: steps L.
        target_dim: number of targets K.
        dim: token width.
        patch_length: steps in a patch.
        dropout: on all tokens.
        drop_tail: leave out the newest `L mod patch_length` steps instead of padding the oldest patch.
    """

    def __init__(
        self,
        context_length: int,
        target_dim: int,
        dim: int,
        patch_length: int,
        dropout: float = 0.0,
        drop_tail: bool = False,
    ):
        super().__init__()
        rest = context_length % patch_length
        # Negative padding crops.
        self.padding = (0, -rest) if drop_tail else (-context_length % patch_length, 0)
        self.count = (context_length + sum(self.padding)) // patch_length
        self.patch_length, self.dropout = patch_length, dropout
        self.embedding = nn.Linear(patch_length, dim, bias=False)
        self.global_token = nn.Parameter(torch.randn(target_dim, 1, dim))
        self.register_buffer("position", sinusoid(self.count, dim), persistent=False)

    def forward(self, x: Tensor, observed: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """x, observed `(B, L, K)` to tokens `(B, K, P + 1, dim)` and, where `observed` is given, which of them hold
        anything observed `(B, K, P + 1)`; the global token always does."""
        tokens = self.embedding(self._cut(x)) + self.position
        tokens = torch.cat([tokens, self.global_token.expand(x.shape[0], -1, -1, -1)], dim=2)
        real = None if observed is None else F.pad(self._cut(observed).any(-1), (0, 1), value=True)
        return F.dropout(tokens, self.dropout, self.training), real

    def _cut(self, x: Tensor) -> Tensor:
        return F.pad(x.transpose(1, 2), self.padding).unflatten(2, (self.count, self.patch_length))


class TimeXer(nn.Module):
    """The network; inputs and outputs as `apps.timeseries.models` says.

    With one target its own series is not among the exogenous tokens, with several all targets are (the release's
    modes MS and S, and M).

    Args:
        context_length: look-back L of the targets.
        prediction_length: horizon H.
        target_dim: number of targets K.
        num_feat_dynamic_real: covariates known for the horizon.
        num_past_feat_dynamic_real: covariates known up to now.
        num_time_feat: calendar series.
        num_feat_static_real: static numbers; together one token.
        cardinality: categories of each static attribute; one token each, the last row for unseen ones.
        covariate_length: look-back Lc of covariates and calendar; L by default.
        future_time_feat: read the calendar of the horizon too.
        dim, heads, depth, hidden, dropout, activation: of the layers.
        patch_length: steps in a patch.
        normalize: window normalisation of targets and covariates (the calendar is never normalised).
        linear_skip: a Linear from all normalised inputs to the forecast, started at zero: instance normalisation
            takes the level away, and much of a price is linear in tomorrow's load.
        variate_tokens: a learned vector added to each exogenous token, which otherwise carry no identity.
        head_dropout: dropout on the forecast in normalised units, a fault of the release kept for comparison.
        drop_tail: drop the newest `L mod patch_length` steps from the patches as the release does.
        head: what the forecast is.
    """

    def __init__(
        self,
        context_length: int,
        prediction_length: int,
        *,
        target_dim: int = 1,
        num_feat_dynamic_real: int = 0,
        num_past_feat_dynamic_real: int = 0,
        num_time_feat: int = 0,
        num_feat_static_real: int = 0,
        cardinality: Sequence[int] = (),
        covariate_length: int | None = None,
        future_time_feat: bool = False,
        dim: int = 512,
        heads: int = 8,
        depth: int = 2,
        hidden: int = 2048,
        patch_length: int = 24,
        dropout: float = 0.1,
        activation: type[nn.Module] = nn.GELU,
        normalize: bool = True,
        linear_skip: bool = False,
        variate_tokens: bool = False,
        head_dropout: float = 0.0,
        drop_tail: bool = False,
        head: Head | None = None,
    ):
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} is not a multiple of heads {heads}")
        if not 0 < patch_length <= context_length:
            raise ValueError(f"patch_length {patch_length} does not fit into context_length {context_length}")
        self.context_length, self.prediction_length = context_length, prediction_length
        self.covariate_length = covariate_length or context_length
        self.target_dim, self.heads, self.depth = target_dim, heads, depth
        self.dropout, self.head_dropout = dropout, head_dropout
        self.normalize, self.future_time_feat = normalize, future_time_feat
        self.head = head or Point()

        self.patches = PatchTokens(context_length, target_dim, dim, patch_length, dropout, drop_tail)

        calendar = num_time_feat if future_time_feat else 0
        self.tokens_known = num_feat_dynamic_real + calendar
        self.tokens_past = num_past_feat_dynamic_real + num_time_feat - calendar
        steps = self.covariate_length
        # Several targets share the embedding of the past series as in the release, unless their look-back differs.
        self.targets_exogenous = target_dim > 1
        shared = self.targets_exogenous and steps == context_length
        self.past_embedding = nn.Linear(steps, dim) if self.tokens_past or shared else None
        self.known_embedding = nn.Linear(steps + prediction_length, dim) if self.tokens_known else None
        self.target_embedding = nn.Linear(context_length, dim) if self.targets_exogenous and not shared else None
        series = self.tokens_past + self.tokens_known + (target_dim if target_dim > 1 else 0)
        self.variate_tokens = nn.Parameter(torch.zeros(series, dim)) if variate_tokens else None
        self.static_real = nn.Linear(num_feat_static_real, dim) if num_feat_static_real else None
        self.static_cat = nn.ModuleList(nn.Embedding(count + 1, dim) for count in cardinality)

        self.context_kv = nn.Linear(dim, depth * 2 * dim)
        self.layers = nn.ModuleList(TimeXerLayer(dim, heads, hidden, dropout, activation) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        outputs = prediction_length * self.head.size
        self.forecast = nn.Linear((self.patches.count + 1) * dim, outputs)
        self.skip = None
        if linear_skip:
            # Of the calendar only the horizon is read: the past of a clock says nothing new.
            inputs = context_length + num_past_feat_dynamic_real * steps + calendar * prediction_length
            inputs += num_feat_dynamic_real * (steps + prediction_length)
            self.skip = nn.Linear(inputs, outputs)
            nn.init.zeros_(self.skip.weight)
            nn.init.zeros_(self.skip.bias)

    def forward(
        self,
        past_target: Tensor,
        *,
        past_observed_values: Tensor | None = None,
        past_feat_dynamic_real: Tensor | None = None,
        feat_dynamic_real: Tensor | None = None,
        time_feat: Tensor | None = None,
        feat_static_real: Tensor | None = None,
        feat_static_cat: Tensor | None = None,
    ) -> Tensor:
        """The forecast `(B, H, K)`, or `(B, H, K, A)` with a head of more than one number."""
        x, loc, scale = self._normalized(past_target, past_observed_values)
        past = self._covariate(past_feat_dynamic_real, 0)
        known = self._covariate(feat_dynamic_real, self.prediction_length)
        steps = self.covariate_length + (self.prediction_length if self.future_time_feat else 0)
        calendar = None if time_feat is None else time_feat[:, :steps]

        tokens = self._exogenous_tokens(x, past, known, calendar, feat_static_real, feat_static_cat)
        batch, count = tokens.shape[:2]
        contexts = self.context_kv(tokens).view(batch, count, self.depth, 2, self.heads, -1).permute(2, 3, 0, 4, 1, 5)
        own, real = self.patches(x, past_observed_values)
        for layer, (keys, values) in zip(self.layers, contexts, strict=True):
            own = layer(own, keys, values, real)
        raw = self.forecast(self.norm(own).flatten(2))
        if self.skip is not None:
            raw = raw + self.skip(self._skip_inputs(x, past, known, calendar))
        raw = F.dropout(raw, self.head_dropout, self.training) if self.head_dropout else raw
        raw = raw.view(batch, self.target_dim, self.prediction_length, self.head.size).transpose(1, 2)
        return self.head.finish(raw, loc, scale)

    def _normalized(self, x: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        if self.normalize:
            loc, scale = window_statistics(x, observed, differentiable=True)
            x = (x - loc) / scale
        else:
            loc, scale = x.new_zeros(x.shape[0], 1, x.shape[2]), x.new_ones(x.shape[0], 1, x.shape[2])
        return (x if observed is None else x.masked_fill(~observed, 0)), loc, scale

    def _covariate(self, x: Tensor | None, future: int) -> Tensor | None:
        """Normalised by the past alone, so that the horizon is seen relative to the window."""
        if x is None:
            return None
        steps = self.covariate_length
        if x.shape[1] != steps + future:
            raise ValueError(f"a covariate has {x.shape[1]} steps, expected {steps} past and {future} future ones")
        if not self.normalize:
            return x
        loc, scale = window_statistics(x[:, :steps], differentiable=True)
        return (x - loc) / scale

    def _exogenous_tokens(self, x, past, known, calendar, static_real, static_cat) -> Tensor:
        series, tokens = [], []
        if past is not None:
            series.append(past)
        if calendar is not None and not self.future_time_feat:
            series.append(calendar)
        if self.target_embedding is not None:
            tokens.append(self.target_embedding(x.transpose(1, 2)))
        elif self.targets_exogenous:
            series.insert(0, x)
        if series and self.past_embedding is not None:
            tokens.append(self.past_embedding(torch.cat(series, 2).transpose(1, 2)))
        series = [] if known is None else [known]
        if calendar is not None and self.future_time_feat:
            series.append(calendar)
        if series and self.known_embedding is not None:
            tokens.append(self.known_embedding(torch.cat(series, 2).transpose(1, 2)))
        if self.variate_tokens is not None and tokens:
            tokens = [torch.cat(tokens, 1) + self.variate_tokens]
        if self.static_real is not None and static_real is not None:
            tokens.append(self.static_real(static_real).unsqueeze(1))
        if static_cat is not None:
            tokens += [table(static_cat[:, n : n + 1]) for n, table in enumerate(self.static_cat)]
        if not tokens:
            return x.new_zeros(x.shape[0], 0, self.norm.normalized_shape[0])
        return F.dropout(torch.cat(tokens, 1), self.dropout, self.training)

    def _skip_inputs(self, x, past, known, calendar) -> Tensor:
        """`(B, K, inputs)`: a target's own past, and what all targets share."""
        shared = [z.flatten(1) for z in (past, known) if z is not None]
        if calendar is not None and self.future_time_feat:
            shared.append(calendar[:, self.covariate_length :].flatten(1))
        x = x.transpose(1, 2)
        if not shared:
            return x
        common = torch.cat(shared, 1).unsqueeze(1).expand(-1, x.shape[1], -1)
        return torch.cat([x, common], dim=2)
