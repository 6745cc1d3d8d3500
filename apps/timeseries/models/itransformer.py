"""iTransformer: every series is one token, attention is between series.

Liu et al., "iTransformer: Inverted Transformers Are Effective for Time Series Forecasting", ICLR 2024.  A window
`(B, L, C)` is normalised by its own mean and standard deviation; each of its C series, and each calendar series as it
is, becomes a token by one shared Linear(L, dim); n transformer layers (norm after) mix them; a LayerNorm and a
Linear(dim, H) read the forecast of the targets from their own tokens.

Equal to the release (thuml/iTransformer c2426e6) with `use_future=False`.  Decided differently:
- of covariates and calendar that are known for the horizon the horizon is read too (one more Linear(H, dim), added
  to their tokens); the release reads their past alone;
- covariates that are not forecast are tokens without an output, with the window's spread limited from below;
- static attributes are one more token; missing values; probabilistic heads.
"""

__all__ = ["ITransformer", "release_mapping"]

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from apps.timeseries.heads import Head, Point
from apps.timeseries.models.covariates import LinearSkip, StaticEmbedding, cut, normalized
from apps.timeseries.models.encoder import EncoderLayer
from apps.timeseries.models.normalize import window_statistics
from core.checkpoint import Mapping, cat, derive, same
from core.ops.dropout import dropout


class ITransformer(nn.Module):
    """The network; inputs and outputs as `apps.timeseries.models` says.

    Args:
        context_length: look-back L.
        prediction_length: horizon H.
        target_dim: number of targets K.
        num_feat_dynamic_real: covariates known for the horizon.
        num_past_feat_dynamic_real: covariates known up to now.
        num_time_feat: calendar series.
        num_feat_static_real: static numbers.
        cardinality: categories of each static attribute.
        dim: token width.
        heads: attention heads, a divisor of `dim`.
        depth: layers.
        hidden: width inside the MLPs.
        dropout: on tokens, attention weights, inside the MLPs and on the branches.
        activation: of the MLPs.
        normalize: window normalisation of targets and covariates (never of the calendar).
        use_future: read the horizon of known covariates and calendar; the release does not.
        linear_skip: a Linear from all inputs to the forecast beside the network, started at zero.
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
        dim: int = 512,
        heads: int = 8,
        depth: int = 2,
        hidden: int = 2048,
        dropout: float = 0.1,
        activation: type[nn.Module] = nn.GELU,
        normalize: bool = True,
        use_future: bool = True,
        linear_skip: bool = False,
        head: Head | None = None,
    ):
        super().__init__()
        self.context_length, self.prediction_length, self.target_dim = context_length, prediction_length, target_dim
        self.known, self.past, self.calendar = num_feat_dynamic_real, num_past_feat_dynamic_real, num_time_feat
        self.dropout, self.normalize = dropout, normalize
        self.head = head or Point()
        self.embedding = nn.Linear(context_length, dim)
        self.future = None
        if use_future and num_feat_dynamic_real + num_time_feat:
            self.future = nn.Linear(prediction_length, dim, bias=False)
        self.static = None
        if num_feat_static_real or cardinality:
            self.static = StaticEmbedding(num_feat_static_real, cardinality, dim)
        self.layers = nn.ModuleList(EncoderLayer(dim, heads, hidden, dropout, activation) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.forecast = nn.Linear(dim, prediction_length * self.head.size)
        self.skip = None
        if linear_skip:
            sizes = (self.past, self.known, self.calendar, self.head.size)
            self.skip = LinearSkip(context_length, prediction_length, *sizes)

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
        steps, whole = self.context_length, self.context_length + self.prediction_length
        past = cut("past_feat_dynamic_real", past_feat_dynamic_real, self.past, steps)
        known = cut("feat_dynamic_real", feat_dynamic_real, self.known, whole)
        calendar = cut("time_feat", time_feat, self.calendar, whole)
        if self.normalize:
            past, known = (z if z is None else normalized(z, steps) for z in (past, known))

        # Targets first; what has a horizon last, so that both Linears read one block.
        ahead = [z for z in (known, calendar) if z is not None]
        series = [x, *([] if past is None else [past]), *(z[:, :steps] for z in ahead)]
        tokens = self.embedding(torch.cat(series, 2).transpose(1, 2) if len(series) > 1 else x.transpose(1, 2))
        if self.future is not None:
            horizon = self.future(torch.cat([z[:, steps:] for z in ahead], 2).transpose(1, 2))
            tokens = tokens + F.pad(horizon, (0, 0, tokens.shape[1] - horizon.shape[1], 0))
        if self.static is not None:
            tokens = torch.cat([tokens, self.static(feat_static_real, feat_static_cat).unsqueeze(1)], 1)
        tokens = dropout(tokens, self.dropout, self.training)
        for layer in self.layers:
            tokens = layer(tokens)
        raw = self.forecast(self.norm(tokens[:, : self.target_dim]))
        raw = raw.unflatten(2, (self.prediction_length, self.head.size)).transpose(1, 2)
        raw = raw if self.skip is None else raw + self.skip(x, past, known, calendar)
        return self.head.finish(raw, loc, scale)

    def _normalized(self, x: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        if x.shape[1:] != (self.context_length, self.target_dim):
            raise ValueError(
                f"past_target is {tuple(x.shape[1:])}, expected ({self.context_length}, {self.target_dim}): "
                "steps of the look-back, targets"
            )
        x = x if observed is None else x.masked_fill(~observed, 0)
        if self.normalize:
            loc, scale = window_statistics(x, observed, differentiable=True)
            x = (x - loc) / scale
        else:
            loc, scale = x.new_zeros(x.shape[0], 1, x.shape[2]), x.new_ones(x.shape[0], 1, x.shape[2])
        return (x if observed is None else x.masked_fill(~observed, 0)), loc, scale


def layer_rules(ours: str, theirs: str) -> list:
    """The release's encoder layer; its convolutions of kernel 1 are our Linears."""
    projections = (f"{theirs}attention.{part}_projection.{{p}}" for part in ("query", "key", "value"))
    return [
        cat(f"{ours}qkv.{{p}}", *projections),
        same(f"{ours}out.{{p}}", f"{theirs}attention.out_projection.{{p}}"),
        derive(f"{ours}expand.weight", f"{theirs}conv1.weight", lambda w: w[..., 0]),
        derive(f"{ours}contract.weight", f"{theirs}conv2.weight", lambda w: w[..., 0]),
        same(f"{ours}expand.bias", f"{theirs}conv1.bias"),
        same(f"{ours}contract.bias", f"{theirs}conv2.bias"),
        *(same(f"{ours}norm{n}.{{p}}", f"{theirs}norm{n}.{{p}}") for n in (1, 2)),
    ]


def release_mapping() -> Mapping:
    """The release's state dict into `ITransformer(..., use_future=False)`."""
    return Mapping(
        same("embedding.{p}", "enc_embedding.value_embedding.{p}"),
        *layer_rules("layers.{i}.", "encoder.attn_layers.{i}."),
        same("norm.{p}", "encoder.norm.{p}"),
        same("forecast.{p}", "projector.{p}"),
    )
