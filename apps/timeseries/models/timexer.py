"""TimeXer: patches of the target attend to each other, a global token attends to the exogenous series.

Wang et al., "TimeXer: Empowering Transformers for Time Series Forecasting with Exogenous Variables", NeurIPS 2024.
Every target gives P patch tokens and one learned global token; every exogenous or calendar series gives one token, a
Linear over its whole look-back.  The layers are in `timexer_layers`; the flattened tokens of a target give its forecast
by one Linear that all targets share.

Equal to the release (thuml/TimeXer 7601190) with past covariates only.  Decided differently:
- covariates known for the horizon and the calendar of the horizon are inputs (`num_feat_dynamic_real`,
  `future_time_feat`); the release reads neither, its decoder input is built and thrown away;
- a look-back that is no multiple of the patch is padded in front, so the newest steps are kept (`drop_tail=True`
  drops them as the release does);
- there is no dropout on the forecast itself (`head_dropout`, the release has it equal to `dropout`);
- missing values, static attributes and probabilistic heads.
"""

__all__ = ["TimeXer"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from apps.timeseries.heads import Head, Point
from apps.timeseries.models.covariates import cut, normalized
from apps.timeseries.models.normalize import window_statistics
from apps.timeseries.models.timexer_layers import PatchTokens, TimeXerLayer
from core.ops.dropout import dropout


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
        self.target_dim = target_dim
        self.dropout, self.head_dropout = dropout, head_dropout
        self.normalize, self.future_time_feat = normalize, future_time_feat
        self.head = head or Point()

        self.patches = PatchTokens(context_length, target_dim, dim, patch_length, dropout, drop_tail)

        calendar = num_time_feat if future_time_feat else 0
        self.known, self.past, self.calendar = num_feat_dynamic_real, num_past_feat_dynamic_real, num_time_feat
        tokens_known = num_feat_dynamic_real + calendar
        tokens_past = num_past_feat_dynamic_real + num_time_feat - calendar
        steps = self.covariate_length
        # Several targets share the embedding of the past series as in the release, unless their look-back differs.
        self.targets_exogenous = target_dim > 1
        shared = self.targets_exogenous and steps == context_length
        self.past_embedding = nn.Linear(steps, dim) if tokens_past or shared else None
        self.known_embedding = nn.Linear(steps + prediction_length, dim) if tokens_known else None
        self.target_embedding = nn.Linear(context_length, dim) if self.targets_exogenous and not shared else None
        series = tokens_past + tokens_known + (target_dim if self.targets_exogenous else 0)
        self.variate_tokens = nn.Parameter(torch.zeros(series, dim)) if variate_tokens else None
        self.static_real = nn.Linear(num_feat_static_real, dim) if num_feat_static_real else None
        self.static_cat = nn.ModuleList(nn.Embedding(count + 1, dim) for count in cardinality)

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
        """The forecast `(B, H, K)`, or `(B, H, K, A)` with a head of more than one number.

        Raises:
            ValueError: an input that the network was not built for, is missing, or has another size.
        """
        length, horizon = self.covariate_length, self.prediction_length
        x, loc, scale = self._normalized(past_target, past_observed_values)
        past = cut("past_feat_dynamic_real", past_feat_dynamic_real, self.past, length)
        known = cut("feat_dynamic_real", feat_dynamic_real, self.known, length + horizon)
        if self.normalize and past is not None:
            mean, spread = window_statistics(past, differentiable=True)
            past = (past - mean) / spread
        if self.normalize and known is not None:
            known = normalized(known, length)
        calendar = self._calendar(time_feat)

        tokens = self._exogenous_tokens(x, past, known, calendar, feat_static_real, feat_static_cat)
        own, real = self.patches(x, past_observed_values)
        for layer in self.layers:
            own = layer(own, tokens, real)
        raw = self.forecast(self.norm(own).flatten(2))
        if self.skip is not None:
            raw = raw + self.skip(self._skip_inputs(x, past, known, calendar))
        raw = dropout(raw, self.head_dropout, self.training)
        raw = raw.view(len(raw), self.target_dim, self.prediction_length, self.head.size).transpose(1, 2)
        return self.head.finish(raw, loc, scale)

    def _normalized(self, x: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        if x.shape[1:] != (self.context_length, self.target_dim):
            raise ValueError(
                f"past_target is {tuple(x.shape[1:])}, expected ({self.context_length}, {self.target_dim}): steps of "
                "the look-back, targets"
            )
        if observed is not None:
            x = x.masked_fill(~observed, 0)  # not even a NaN behind the mask may reach a gradient
        if self.normalize:
            loc, scale = window_statistics(x, observed, differentiable=True)
            x = (x - loc) / scale
        else:
            loc, scale = x.new_zeros(x.shape[0], 1, x.shape[2]), x.new_ones(x.shape[0], 1, x.shape[2])
        return (x if observed is None else x.masked_fill(~observed, 0)), loc, scale

    def _calendar(self, x: Tensor | None) -> Tensor | None:
        """Its steps that are read; what comes always reaches over the horizon, unless the horizon is not read."""
        steps = self.covariate_length + (self.prediction_length if self.future_time_feat else 0)
        return cut("time_feat", x if x is None else x[:, :steps], self.calendar, steps)

    def _exogenous_tokens(self, x, past, known, calendar, static_real, static_cat) -> Tensor:
        series, tokens = [], []
        if past is not None:
            series.append(past)
        if calendar is not None and not self.future_time_feat:
            series.append(calendar)
        if self.target_embedding is not None:
            tokens.append(self.target_embedding(x.mT))
        elif self.targets_exogenous:
            series.insert(0, x)
        if series:
            tokens.append(self.past_embedding(_stack(series)))
        series = [] if known is None else [known]
        if calendar is not None and self.future_time_feat:
            series.append(calendar)
        if series:
            tokens.append(self.known_embedding(_stack(series)))
        if self.variate_tokens is not None and tokens:
            tokens = [torch.cat(tokens, 1) + self.variate_tokens]
        if (static_real is not None) != (self.static_real is not None) or (static_cat is not None) != bool(
            self.static_cat
        ):
            raise ValueError(
                f"the network was built with {self.static_real.in_features if self.static_real else 0} static numbers "
                f"and {len(self.static_cat)} static categories; give exactly these"
            )
        if self.static_real is not None:
            tokens.append(self.static_real(static_real).unsqueeze(1))
        for n, table in enumerate(self.static_cat):
            tokens.append(table(static_cat[:, n : n + 1].clamp(0, table.num_embeddings - 1)))
        if not tokens:
            return x.new_zeros(x.shape[0], 0, self.norm.normalized_shape[0])
        return dropout(torch.cat(tokens, 1), self.dropout, self.training)

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


def _stack(series: list[Tensor]) -> Tensor:
    """Several `(B, steps, C)` as the rows `(B, sum of C, steps)` of a Linear over time, in one copy."""
    return torch.cat([z.mT for z in series], 1)
