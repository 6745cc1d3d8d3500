"""PatchTSMixer (IBM's TSMixer): MLPs over patches, features and, if wanted, channels.

Ekambaram et al., "TSMixer: Lightweight MLP-Mixer Model for Multivariate Time Series Forecasting", KDD 2023.  A window
`(B, L, C)` is scaled, cut into P = (L - p) // s + 1 patches of p steps that end with the newest step, embedded by one
Linear(p, dim), mixed by `patchtsmixer_layers`, and each channel's flattened patches give its forecast by one Linear
that all channels share.

Equal to transformers 5.23 with targets alone (its checkpoints load through `patchtsmixer_release`).  Decided
differently:
- covariates known for the horizon and the calendar enter by the cross-channel head (`patchtsmixer_heads`), and with
  `mix_channels` all covariates are channels of the backbone too; transformers has neither;
- static attributes are added to the tokens;
- unobserved values count as 0 after scaling (`patchtsmixer_scalers`);
- a look-back of just one patch is allowed; horizons of one step work with distributions too.
"""

__all__ = ["PatchTSMixer", "PatchTSMixerBackbone"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from apps.timeseries.heads import Head, Point
from apps.timeseries.models.covariates import LinearSkip, StaticEmbedding, cut, normalized
from apps.timeseries.models.patchtsmixer_heads import ChannelReconciliation, PatchReconciliation, hierarchy_loss
from apps.timeseries.models.patchtsmixer_layers import MixerLayer
from apps.timeseries.models.patchtsmixer_scalers import Scaler, StdScaler
from apps.timeseries.models.positions import Positions
from core.ops.dropout import dropout


class PatchTSMixerBackbone(nn.Module):
    """Patches, their embedding and the mixer layers.

    Args:
        context_length: look-back L.
        channels: number of channels C.
        dim: features of a patch.
        depth: layers.
        patch_length: steps p in a patch.
        stride: steps s from patch to patch.
        expansion: hidden units of the MLPs per input.
        dropout: inside the layers.
        mix_channels: MLPs over channels too; without them every channel is on its own.
        gate: softmax gates.
        heads: attention over patches beside their MLP; 0 for none.
        norm: makes a norm from `dim`: `nn.LayerNorm`, `patchtsmixer_layers.TokenBatchNorm`.
        position: start of a table added to the patches, from `positions`; None for no table.
        learn_position: train that table.

    Raises:
        ValueError: the patch does not fit into the look-back.
    """

    def __init__(
        self,
        context_length: int,
        channels: int,
        *,
        dim: int = 8,
        depth: int = 3,
        patch_length: int = 8,
        stride: int = 8,
        expansion: int = 2,
        dropout: float = 0.2,
        mix_channels: bool = False,
        gate: bool = True,
        heads: int = 0,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
        position: Callable[[int, int], Tensor] | None = None,
        learn_position: bool = False,
    ):
        super().__init__()
        if not 0 < patch_length <= context_length or stride < 1:
            raise ValueError(
                f"patches of {patch_length} with stride {stride} do not fit into a look-back of {context_length}"
            )
        self.context_length, self.channels = context_length, channels
        self.patch_length, self.stride = patch_length, stride
        self.count = (context_length - patch_length) // stride + 1
        self.embedding = nn.Linear(patch_length, dim)
        self.position = Positions(position(self.count, dim), learn_position) if position else nn.Identity()
        mixed = channels if mix_channels else 0
        self.layers = nn.Sequential(
            *(MixerLayer(dim, self.count, expansion, dropout, mixed, gate, heads, norm) for _ in range(depth))
        )

    def patches(self, x: Tensor) -> Tensor:
        """`(B, L, C)` to `(B, C, P, p)`; the last patch ends with the last step.

        Raises:
            ValueError: other look-back or other number of channels.
        """
        if x.shape[1:] != (self.context_length, self.channels):
            raise ValueError(
                f"the window is {tuple(x.shape[1:])}, expected ({self.context_length}, {self.channels}): steps of "
                "the look-back, channels"
            )
        used = self.patch_length + self.stride * (self.count - 1)
        return x[:, -used:].unfold(1, self.patch_length, self.stride).transpose(1, 2)

    def forward(self, patches: Tensor, static: Tensor | None = None) -> Tensor:
        """Patches `(B, C, P, p)` and a vector of each series `(B, dim)` to features `(B, C, P, dim)`."""
        tokens = self.position(self.embedding(patches))
        return self.layers(tokens if static is None else tokens + static[:, None, None])


class PatchTSMixer(nn.Module):
    """The forecasting network; inputs and outputs as `apps.timeseries.models` says.

    Args:
        context_length: look-back L.
        prediction_length: horizon H.
        target_dim: number of targets K.
        num_feat_dynamic_real: covariates known for the horizon; they need and bring the cross-channel head.
        num_past_feat_dynamic_real: covariates known up to now; they need `mix_channels` or `linear_skip`.
        num_time_feat: calendar series, used like known covariates but never normalised.
        num_feat_static_real: static numbers.
        cardinality: categories of each static attribute.
        dim, depth, patch_length, stride, expansion, dropout, mix_channels, gate, heads, norm, position,
            learn_position: of the `PatchTSMixerBackbone`.
        head_dropout: on the features in front of the forecast.
        reconcile: the cross-channel head even without known covariates.
        reconcile_context: steps on each side of a horizon step that it sees.
        hierarchy: steps of the patches of the hierarchical head; 0 for none.  The task adds `auxiliary_loss`.
        linear_skip: a Linear from all inputs to the forecast beside the network, started at zero.
        scaler: `StdScaler`, `MeanScaler` or `NoScaler`; the first by default.
        head: what the forecast is.

    Raises:
        ValueError: past-only covariates that reach nothing, or what the parts refuse.
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
        dim: int = 8,
        depth: int = 3,
        patch_length: int = 8,
        stride: int = 8,
        expansion: int = 2,
        dropout: float = 0.2,
        head_dropout: float = 0.2,
        mix_channels: bool = False,
        gate: bool = True,
        heads: int = 0,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
        position: Callable[[int, int], Tensor] | None = None,
        learn_position: bool = False,
        reconcile: bool = False,
        reconcile_context: int = 1,
        hierarchy: int = 0,
        linear_skip: bool = False,
        scaler: Scaler | None = None,
        head: Head | None = None,
    ):
        super().__init__()
        if num_past_feat_dynamic_real and not (mix_channels or linear_skip):
            raise ValueError(
                f"{num_past_feat_dynamic_real} past-only covariates reach the targets only through mixed channels or "
                "the linear skip; set mix_channels=True or linear_skip=True or leave them out"
            )
        self.context_length, self.prediction_length, self.target_dim = context_length, prediction_length, target_dim
        self.known, self.past, self.calendar = num_feat_dynamic_real, num_past_feat_dynamic_real, num_time_feat
        self.mix_channels, self.head_dropout = mix_channels, head_dropout
        self.head, self.scaler = head or Point(), scaler or StdScaler()
        ahead = num_feat_dynamic_real + num_time_feat
        self.backbone = PatchTSMixerBackbone(
            context_length,
            target_dim + (ahead + num_past_feat_dynamic_real if mix_channels else 0),
            dim=dim,
            depth=depth,
            patch_length=patch_length,
            stride=stride,
            expansion=expansion,
            dropout=dropout,
            mix_channels=mix_channels,
            gate=gate,
            heads=heads,
            norm=norm,
            position=position,
            learn_position=learn_position,
        )
        self.static = None
        if num_feat_static_real or cardinality:
            self.static = StaticEmbedding(num_feat_static_real, cardinality, dim)
        size, features = self.head.size, self.backbone.count * dim
        self.forecast = nn.Linear(features, prediction_length * size)
        self.hierarchy = PatchReconciliation(features, prediction_length, hierarchy, size) if hierarchy else None
        self.reconciliation = None
        if reconcile or ahead:
            self.reconciliation = ChannelReconciliation(
                target_dim * size, ahead, prediction_length, reconcile_context, gate
            )
        self.sums: Tensor | None = None
        self.apply(start)
        self.skip = None
        if linear_skip:
            sizes = (num_past_feat_dynamic_real, num_feat_dynamic_real, num_time_feat, size)
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
        steps, whole = self.context_length, self.context_length + self.prediction_length
        scaled, loc, scale = self.scaler(past_target, past_observed_values)
        past = cut("past_feat_dynamic_real", past_feat_dynamic_real, self.past, steps)
        known = cut("feat_dynamic_real", feat_dynamic_real, self.known, whole)
        calendar = cut("time_feat", time_feat, self.calendar, whole)
        past, known = (z if z is None else normalized(z, steps) for z in (past, known))
        ahead = [z for z in (known, calendar) if z is not None]

        channels = [scaled]
        if self.mix_channels:
            channels += [z[:, :steps] for z in ahead] + ([] if past is None else [past])
        window = scaled if len(channels) == 1 else torch.cat(channels, 2)
        static = None if self.static is None else self.static(feat_static_real, feat_static_cat)
        hidden = self.backbone(self.backbone.patches(window), static)
        raw = self.project(hidden[:, : self.target_dim], loc, scale)
        if self.reconciliation is not None:
            own = scaled.repeat_interleave(self.head.size, 2)
            seen = torch.cat([own, *(z[:, :steps] for z in ahead)], 2)
            future = torch.cat([z[:, steps:] for z in ahead], 2) if ahead else None
            raw = self.reconciliation(raw.flatten(2), seen, future).view(raw.shape)
        raw = raw if self.skip is None else raw + self.skip(scaled, past, known, calendar)
        return self.head.finish(raw, loc, scale)

    def project(self, hidden: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        """Features `(B, K, P, dim)` of the targets to raw numbers `(B, H, K, A)`."""
        features = dropout(hidden.flatten(2), self.head_dropout, self.training)
        raw = self.forecast(features).unflatten(2, (self.prediction_length, self.head.size)).transpose(1, 2)
        if self.hierarchy is not None:
            raw, sums = self.hierarchy(features, raw)
            lengths = [self.hierarchy.patch_length] * self.hierarchy.count
            lengths[-1] -= sum(lengths) - self.prediction_length
            self.sums = sums[..., 0] * scale + loc * sums.new_tensor(lengths)[None, :, None]
        return raw

    def auxiliary_loss(self, prediction: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """What is added to the head's loss of the same step: the hierarchical head's terms, 0 without it."""
        sums, self.sums = self.sums, None  # a graph kept here would outlive its step
        if self.hierarchy is None or sums is None:
            return prediction.new_zeros(())
        return hierarchy_loss(self.head.point(prediction), sums, target, observed, self.hierarchy.patch_length)


def start(module: nn.Module) -> None:
    """The start of transformers: weights normal with deviation 0.02, no bias; it trains otherwise than torch's own."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
