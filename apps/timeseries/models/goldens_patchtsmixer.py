"""PatchTSMixer under its official names: transformers' four models, their blocks, granite-tsfm's channel head.

What a file leaves out has the default of the transformers configuration.  Dropout is 0 in all goldens; unobserved
values are treated as released.
"""

__all__ = ["PATCHTSMIXER"]

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from apps.timeseries.heads import Distribution, Head, Point
from apps.timeseries.models.goldens_itransformer import within
from apps.timeseries.models.patchtsmixer import PatchTSMixer, PatchTSMixerBackbone
from apps.timeseries.models.patchtsmixer_distributions import (
    SquareplusNegativeBinomial,
    SquareplusNormal,
    SquareplusStudentT,
)
from apps.timeseries.models.patchtsmixer_heads import ChannelReconciliation
from apps.timeseries.models.patchtsmixer_layers import Gate, MixerLayer, channel_mixer, feature_mixer, patch_mixer
from apps.timeseries.models.patchtsmixer_pooled import PatchTSMixerPooled, last_patch, max_pool, mean_pool
from apps.timeseries.models.patchtsmixer_pretraining import LastPatches, PatchTSMixerPretraining, RandomPatches
from apps.timeseries.models.patchtsmixer_release import (
    channel_head_mapping,
    forecaster_mapping,
    layer_rules,
    mixer_rules,
    norm,
    pooled_mapping,
    pretraining_mapping,
    settings,
)
from apps.timeseries.models.patchtsmixer_scalers import MeanScaler, NoScaler, Scaler, StdScaler
from core.checkpoint import Mapping, same
from core.verify import Facts, Golden

OUTPUTS = {
    "student_t": SquareplusStudentT,
    "normal": SquareplusNormal,
    "negative_binomial": SquareplusNegativeBinomial,
}
POOLS = {"use_last": last_patch, "max_pool": max_pool, "avg_pool": mean_pool}


def scaler(facts: Facts) -> Scaler:
    """`True` means the standard deviation, whatever the configuration's text says."""
    kind = facts.get("scaling", "std")
    chosen = MeanScaler if kind == "mean" else StdScaler if kind == "std" or kind is True else NoScaler
    return chosen(as_released=True)


def head(facts: Facts) -> Head:
    if facts.get("loss", "mse") == "mse":
        return Point()
    return Distribution(OUTPUTS[facts.get("distribution_output", "student_t")]())


def quiet(facts: Facts) -> dict[str, Any]:
    return settings(facts.config) | {"dropout": 0.0}


def parameters(head: Distribution, prediction: Tensor) -> tuple[torch.distributions.Distribution, dict[str, Tensor]]:
    """The distribution and its parameters before the affine map (logits have their shift, as in the release)."""
    distribution = head.distribution(prediction)
    if isinstance(head.output, SquareplusNegativeBinomial):
        parts = [distribution.total_count, distribution.logits]
    else:
        parts = list(prediction.unbind(-1)[: head.size])
    return distribution, {f"parameter_{n}": part for n, part in enumerate(parts)}


class Prediction(nn.Module):
    """`PatchTSMixerForPrediction`: every channel is a target; some may be picked from the forecast."""

    def __init__(self, facts: Facts):
        super().__init__()
        self.channels = facts.get("prediction_channel_indices", None)
        self.net = PatchTSMixer(
            facts.get("context_length", 32),
            facts.get("prediction_length", 16),
            target_dim=facts.get("num_input_channels", 1),
            head_dropout=0.0,
            scaler=scaler(facts),
            head=head(facts),
            **quiet(facts),
        )

    def forward(
        self, past_values: Tensor, future_values: Tensor | None = None, observed_mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        net, pick = self.net, slice(None) if self.channels is None else sorted(self.channels)
        scaled, loc, scale = net.scaler(past_values, observed_mask)
        hidden = net.backbone(net.backbone.patches(scaled))
        prediction = net.head.finish(net.project(hidden, loc, scale), loc, scale)[:, :, pick]
        found = {"last_hidden_state": hidden, "loc": loc[..., pick], "scale": scale[..., pick]}
        target = None if future_values is None else future_values[..., pick]
        if isinstance(net.head, Distribution):
            distribution, parts = parameters(net.head, prediction)
            found |= parts
            if target is not None:  # summed over channels, averaged over the rest
                found["loss"] = -distribution.log_prob(target).sum(-1).mean()
        else:
            found["prediction"] = prediction
            if target is not None:
                found["loss"] = F.mse_loss(prediction, target)
        return found


class Pretraining(nn.Module):
    """`PatchTSMixerForPretraining`."""

    def __init__(self, facts: Facts):
        super().__init__()
        keep = facts.get("unmasked_channel_indices", None) or ()
        if facts.get("mask_type", "random") == "random":
            hide = RandomPatches(
                facts.get("random_mask_ratio", 0.5), facts.get("channel_consistent_masking", True), keep
            )
        else:
            counts = facts.get("num_forecast_mask_patches", (2,))
            hide = LastPatches([counts] if isinstance(counts, int) else counts, keep)
        self.net = PatchTSMixerPretraining(
            facts.get("context_length", 32),
            facts.get("num_input_channels", 1),
            backbone=partial(PatchTSMixerBackbone, **quiet(facts)),
            hide=hide,
            hidden_value=facts.get("mask_value", 0),
            head_dropout=0.0,
            hidden_only=facts.get("masked_loss", True),
            scaler=scaler(facts),
        )

    def forward(self, past_values: Tensor, observed_mask: Tensor | None = None) -> dict[str, Tensor]:
        predicted, patches, hidden = self.net(past_values, past_observed_values=observed_mask)
        return {"prediction": predicted, "loss": self.net.loss(predicted, patches, hidden), "mask": hidden}


class Pooled(nn.Module):
    """`PatchTSMixerForTimeSeriesClassification` and, with `regression`, `PatchTSMixerForRegression`."""

    def __init__(self, facts: Facts, regression: bool):
        super().__init__()
        self.regression = regression
        own = head(facts) if regression else Point()
        limits = facts.get("output_range", None)
        self.net = PatchTSMixerPooled(
            facts.get("context_length", 32),
            facts.get("num_targets", 3),
            target_dim=facts.get("num_input_channels", 1),
            backbone=partial(PatchTSMixerBackbone, **quiet(facts)),
            pool=POOLS.get(facts.get("head_aggregation", "max_pool")),
            output_range=None if limits is None or own.size > 1 else tuple(limits),
            head_dropout=0.0,
            scaler=scaler(facts),
            head=own,
        )

    def forward(self, past_values: Tensor, target_values: Tensor | None = None) -> dict[str, Tensor]:
        prediction = self.net(past_values)
        if not self.regression:
            found = {"logits": prediction}
            if target_values is not None:
                found["loss"] = F.cross_entropy(prediction, target_values)
            return found
        if not isinstance(self.net.head, Distribution):
            loss = {} if target_values is None else {"loss": F.mse_loss(prediction, target_values)}
            return {"prediction": prediction} | loss
        distribution, found = parameters(self.net.head, prediction)
        if target_values is not None:
            if self.net.outputs == 1:  # the release pairs every sample with every target
                target_values = target_values.view(-1, 1, 1)
            found["loss"] = -distribution.log_prob(target_values).sum(-1).mean()
        return found


class ChannelHead(nn.Module):
    """`ForecastChannelHeadMixer`: forecast channels first, in the order given, then exogenous ones."""

    def __init__(self, facts: Facts):
        super().__init__()
        channels = facts.get("num_input_channels", 1)
        self.predicted = facts.get("prediction_channel_indices", None)
        self.predicted = list(range(channels)) if self.predicted is None else self.predicted
        self.exogenous = facts.get("exogenous_channel_indices", None) or []
        self.net = ChannelReconciliation(
            len(self.predicted),
            len(self.exogenous),
            facts.get("prediction_length", 16),
            context=facts.get("fcm_context_length", 1),
            gate=facts.get("fcm_gated_attn", True),
            mixer_depth=facts.get("fcm_mix_layers", 2) if facts.get("fcm_use_mixer", False) else 0,
            expansion=facts.get("expansion_factor", 2),
            prepend_past=facts.get("fcm_prepend_past", True),
            skip=facts.get("fcm_prepend_past_offset", None) or 0,
            norm=norm(facts.config),
            heads=facts.get("self_attn_heads", 1) if facts.get("self_attn", False) else 0,
        )

    def forward(
        self, base_forecasts: Tensor, past_values: Tensor | None = None, future_values: Tensor | None = None
    ) -> Tensor:
        past = past_values[..., [*self.predicted, *self.exogenous]]
        return self.net(base_forecasts, past, future_values[..., self.exogenous] if self.exogenous else None)


def named(run: Callable, inputs: dict[str, Tensor]) -> Any:
    """The release is called by names."""
    return run(**inputs)


def patches(facts: Facts) -> int:
    length = facts.get("patch_length", 8)
    return (max(facts.get("context_length", 32), length) - length) // facts.get("patch_stride", 8) + 1


def block(kind: str) -> Callable[[Facts], nn.Module]:
    """One residual branch of the mixer layer, or the layer."""

    def build(facts: Facts) -> nn.Module:
        s, channels = quiet(facts), facts.get("num_input_channels", 1)
        dim, common = s["dim"], {"expansion": s["expansion"], "gate": s["gate"], "norm": s["norm"]}
        if kind == "channels":
            return channel_mixer(dim, channels, **common)
        if kind == "patches":
            return patch_mixer(dim, patches(facts), heads=s["heads"], **common)
        if kind == "features":
            return feature_mixer(dim, **common)
        return MixerLayer(
            dim, patches(facts), channels=channels if s["mix_channels"] else 0, heads=s["heads"], **common
        )

    return build


BRANCH = Mapping(*mixer_rules("", ""))
PATCHTSMIXER = {
    "PatchTSMixerForPrediction": Golden(Prediction, within("net.", forecaster_mapping()), named),
    "PatchTSMixerForPretraining": Golden(Pretraining, within("net.", pretraining_mapping()), named),
    "PatchTSMixerForTimeSeriesClassification": Golden(
        partial(Pooled, regression=False),
        lambda facts: within("net.", pooled_mapping(facts.get("head_aggregation", "max_pool") in POOLS)),
        named,
    ),
    "PatchTSMixerForRegression": Golden(
        partial(Pooled, regression=True),
        lambda facts: within("net.", pooled_mapping(facts.get("head_aggregation", "max_pool") in POOLS)),
        named,
    ),
    "ForecastChannelHeadMixer": Golden(ChannelHead, within("net.", channel_head_mapping()), named),
    "PatchTSMixerLayer": Golden(block("layer"), Mapping(*layer_rules("", ""))),
    "PatchMixerBlock": Golden(block("patches"), BRANCH),
    "FeatureMixerBlock": Golden(block("features"), BRANCH),
    "PatchTSMixerChannelFeatureMixerBlock": Golden(block("channels"), BRANCH),
    "PatchTSMixerGatedAttention": Golden(
        lambda facts: Gate(facts.config["in_size"]), Mapping(same("weigh.{p}", "attn_layer.{p}"))
    ),
}
