"""Gateformer: gates between a whole-series and a patch view of each series, then between series.

Lan et al., "Gateformer: Advancing Multivariate Time Series Forecasting through Temporal and Variate-Wise Attention
with Gated Representations", 2025.  A window is normalised by its own mean and standard deviation; for each series

    g = Linear(L, dim)(series)                                       the whole look-back
    t = Linear(P dim, dim)(transformer(Linear(p, dim)(patches)))     patches, completed by `stride` last values
    u = a g + (1 - a) t,          a = sigmoid(W1 g + W2 t)
    v = transformer over series of u
    z = b u + (1 - b) v,          b = sigmoid(W3 u + W4 v)
    y = Linear(dim, H)(z)

both transformers with the norm in front, ReLU, no norm behind.

Equal to the release (nyuolab/Gateformer f209962), which calls with time marks but never reads them.  Decided
differently: each layer starts from its own random weights (the release copies one layer); covariates known up to now
are series that are not forecast; missing values; probabilistic heads.  Nothing in it can hold a known future.
"""

__all__ = ["Gateformer", "release_mapping"]

import torch
from torch import Tensor, nn

from apps.timeseries.heads import Head, Point
from apps.timeseries.models.covariates import cut, normalized
from apps.timeseries.models.encoder import EncoderLayer
from apps.timeseries.models.normalize import window_statistics
from apps.timeseries.models.patchtst import Patches
from core.checkpoint import Mapping, derive, same
from core.ops.dropout import dropout
from core.positions.sinusoid import sinusoid


class Blend(nn.Module):
    """a x + (1 - a) y with a = sigmoid(V x + W y), number by number.

    Args:
        dim: width of x and y.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.first, self.second = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.lerp(y, x, torch.sigmoid(self.first(x) + self.second(y)))


class Gateformer(nn.Module):
    """The network; inputs and outputs as `apps.timeseries.models` says.

    Args:
        context_length: look-back L.
        prediction_length: horizon H.
        target_dim: number of targets K.
        num_past_feat_dynamic_real: covariates known up to now.
        dim: token width, even.
        heads: attention heads, a divisor of `dim`.
        depth: layers of each of the two transformers.
        hidden: width inside the MLPs.
        patch_length: steps p in a patch.
        stride: steps from patch to patch.
        dropout: on tokens, both views, attention weights, inside the MLPs and on the branches.
        head: what the forecast is.

    Raises:
        ValueError: sizes that do not fit.
    """

    def __init__(
        self,
        context_length: int,
        prediction_length: int,
        *,
        target_dim: int = 1,
        num_past_feat_dynamic_real: int = 0,
        dim: int = 64,
        heads: int = 4,
        depth: int = 2,
        hidden: int = 64,
        patch_length: int = 8,
        stride: int = 8,
        dropout: float = 0.1,
        head: Head | None = None,
    ):
        super().__init__()
        self.context_length, self.prediction_length, self.target_dim = context_length, prediction_length, target_dim
        self.past, self.dropout = num_past_feat_dynamic_real, dropout
        self.head = head or Point()
        self.patches = Patches(context_length, patch_length, stride, pad_end=True, drop_newest=False)
        self.series_embedding = nn.Linear(context_length, dim)
        self.patch_embedding = nn.Linear(patch_length, dim, bias=False)
        self.register_buffer("position", sinusoid(self.patches.count, dim), persistent=False)
        self.temporal = nn.Sequential(*(layer(dim, heads, hidden, dropout) for _ in range(depth)))
        self.summary = nn.Linear(self.patches.count * dim, dim)
        self.blend_views = Blend(dim)
        self.variate = nn.Sequential(*(layer(dim, heads, hidden, dropout) for _ in range(depth)))
        self.blend_variates = Blend(dim)
        self.forecast = nn.Linear(dim, prediction_length * self.head.size)

    def forward(
        self,
        past_target: Tensor,
        *,
        past_observed_values: Tensor | None = None,
        past_feat_dynamic_real: Tensor | None = None,
    ) -> Tensor:
        """The forecast `(B, H, K)`, or `(B, H, K, A)` with a head of more than one number."""
        if past_target.shape[1:] != (self.context_length, self.target_dim):
            raise ValueError(
                f"past_target is {tuple(past_target.shape[1:])}, expected ({self.context_length}, {self.target_dim}): "
                "steps of the look-back, targets"
            )
        x, observed = past_target, past_observed_values
        x = x if observed is None else x.masked_fill(~observed, 0)
        loc, scale = window_statistics(x, observed, differentiable=True)
        x = (x - loc) / scale
        x = x if observed is None else x.masked_fill(~observed, 0)
        past = cut("past_feat_dynamic_real", past_feat_dynamic_real, self.past, self.context_length)
        if past is not None:
            x = torch.cat([x, normalized(past, self.context_length)], 2)

        whole = self._drop(self.series_embedding(x.transpose(1, 2)))
        tokens = self._drop(self.patch_embedding(self.patches(x)) + self.position)
        tokens = self.temporal(tokens.flatten(0, 1)).reshape(*whole.shape[:2], -1)
        views = self.blend_views(whole, self._drop(self.summary(tokens)))
        mixed = self.blend_variates(views, self.variate(views))
        raw = self.forecast(mixed[:, : self.target_dim])
        raw = raw.unflatten(2, (self.prediction_length, self.head.size)).transpose(1, 2)
        return self.head.finish(raw, loc, scale)

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)


def layer(dim: int, heads: int, hidden: int, dropout: float) -> EncoderLayer:
    """A layer as torch's `TransformerEncoderLayer` starts it."""
    made = EncoderLayer(dim, heads, hidden, dropout, nn.ReLU, pre_norm=True)
    nn.init.xavier_uniform_(made.qkv.weight)
    nn.init.zeros_(made.qkv.bias)
    nn.init.zeros_(made.out.bias)
    return made


def release_mapping() -> Mapping:
    """The release's state dict into `Gateformer`; it flattens patch tokens width first."""
    rules = []
    for ours, theirs in (("temporal", "enc_temporal"), ("variate", "enc_variate")):
        own, other = f"{ours}.{{i}}.", f"{theirs}.layers.{{i}}."
        rules += [
            *(same(f"{own}qkv.{p}", f"{other}self_attn.in_proj_{p}") for p in ("weight", "bias")),
            same(f"{own}out.{{p}}", f"{other}self_attn.out_proj.{{p}}"),
            same(f"{own}expand.{{p}}", f"{other}linear1.{{p}}"),
            same(f"{own}contract.{{p}}", f"{other}linear2.{{p}}"),
            *(same(f"{own}norm{n}.{{p}}", f"{other}norm{n}.{{p}}") for n in (1, 2)),
        ]
    gates = ("blend_views.first", "blend_views.second", "blend_variates.first", "blend_variates.second")
    return Mapping(
        *rules,
        *(same(f"{ours}.{{p}}", f"gate_w{n}.{{p}}") for n, ours in enumerate(gates, 1)),
        same("series_embedding.{p}", "project_embedding.value_embedding.{p}"),
        same("patch_embedding.weight", "patch_embedding.value_embedding.weight"),
        derive("summary.weight", "head.linear.weight", lambda w: w.unflatten(1, (len(w), -1)).mT.flatten(1)),
        same("summary.bias", "head.linear.bias"),
        same("forecast.{p}", "projection.{p}"),
        ignore=["patch_embedding.position_embedding.pe"],
    )
