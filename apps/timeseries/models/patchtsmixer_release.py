"""Hugging Face checkpoints of PatchTSMixer into our networks (transformers 5.23, its names and defaults).

`settings` reads a transformers configuration (`config.json`) as constructor arguments of the backbone; the mappings
turn state dicts.  Example: ibm-granite/granite-timeseries-patchtsmixer (ETTh1, 512 -> 96)::

    config = json.load(open("config.json"))
    net = PatchTSMixer(512, 96, target_dim=7, head_dropout=config["head_dropout"], **settings(config))
    checkpoint.load(net, checkpoint.read("model.safetensors"), forecaster_mapping())
"""

__all__ = ["channel_head_mapping", "forecaster_mapping", "pooled_mapping", "pretraining_mapping", "settings"]

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from apps.timeseries.models.patchtsmixer_layers import TokenBatchNorm
from apps.timeseries.models.positions import normal, sinusoidal
from core.checkpoint import Mapping, Rule, cat, derive, same

BRANCHES = (("channels", "channel_feature_mixer"), ("patches", "patch_mixer"), ("features", "feature_mixer"))


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `PatchTSMixerBackbone` (and of `PatchTSMixer`) from a transformers configuration.

    Raises:
        ValueError: a kind of positions there is not.
    """
    kind = config.get("positional_encoding_type", "sincos")
    if kind not in ("sincos", "random"):
        raise ValueError(f"positional_encoding_type {kind!r} is neither sincos nor random")
    position = None
    if config.get("use_positional_encoding", False):
        position = sinusoidal if kind == "sincos" else normal
    return {
        "dim": config.get("d_model", 8),
        "depth": config.get("num_layers", 3),
        "patch_length": config.get("patch_length", 8),
        "stride": config.get("patch_stride", 8),
        "expansion": config.get("expansion_factor", 2),
        "dropout": config.get("dropout", 0.2),
        "mix_channels": config.get("mode", "common_channel") == "mix_channel",
        "gate": config.get("gated_attn", True),
        "heads": config.get("self_attn_heads", 1) if config.get("self_attn", False) else 0,
        "norm": norm(config),
        "position": position,
        "learn_position": kind == "random",
    }


def norm(config: dict[str, Any]) -> partial[nn.Module]:
    """Batch norm where the name has "batch" in it, layer norm otherwise."""
    kind = TokenBatchNorm if "batch" in config.get("norm_mlp", "LayerNorm").lower() else nn.LayerNorm
    return partial(kind, eps=config.get("norm_eps", 1e-5))


def norm_rules(ours: str, theirs: str) -> list[Rule]:
    """A norm, whichever it is."""
    return [same(f"{ours}.{{p}}", f"{theirs}.norm.{{p}}"), same(f"{ours}.{{p}}", f"{theirs}.norm.batchnorm.{{p}}")]


def mixer_rules(ours: str, theirs: str) -> list[Rule]:
    """One residual branch."""
    return [
        *norm_rules(f"{ours}norm", f"{theirs}norm"),
        *norm_rules(f"{ours}attention_norm", f"{theirs}norm_attn"),
        same(f"{ours}mlp.expand.{{p}}", f"{theirs}mlp.fc1.{{p}}"),
        same(f"{ours}mlp.contract.{{p}}", f"{theirs}mlp.fc2.{{p}}"),
        same(f"{ours}gate.weigh.{{p}}", f"{theirs}gating_block.attn_layer.{{p}}"),
        cat(f"{ours}attention.qkv.{{p}}", *(f"{theirs}self_attn_layer.{part}_proj.{{p}}" for part in "qkv")),
        same(f"{ours}attention.out.{{p}}", f"{theirs}self_attn_layer.out_proj.{{p}}"),
    ]


def layer_rules(ours: str, theirs: str) -> list[Rule]:
    """One layer of up to three branches."""
    return [rule for own, other in BRANCHES for rule in mixer_rules(f"{ours}{own}.", f"{theirs}{other}.")]


def backbone_rules(ours: str = "backbone.", theirs: str = "model.encoder.") -> list[Rule]:
    """Everything in front of the heads."""
    return [
        same(f"{ours}embedding.{{p}}", f"{theirs}patcher.{{p}}"),
        same(f"{ours}position.table", f"{theirs}positional_encoder.position_enc"),
        *layer_rules(f"{ours}layers.{{i}}.", f"{theirs}mlp_mixer_encoder.mixers.{{i}}."),
    ]


def interleaved(*parts: Tensor) -> Tensor:
    """One official Linear per distribution parameter; ours has the parameters of a step side by side."""
    return torch.stack(parts, 1).flatten(0, 1)


def forecaster_mapping() -> Mapping:
    """`PatchTSMixerForPrediction` into `PatchTSMixer`."""
    return Mapping(
        *backbone_rules(),
        same("forecast.{p}", "head.base_forecast_block.{p}"),
        *(derive(f"forecast.{p}", f"head.base_forecast_block.proj.{{*}}.{p}", interleaved) for p in ("weight", "bias")),
    )


def pretraining_mapping() -> Mapping:
    """`PatchTSMixerForPretraining` into `PatchTSMixerPretraining`."""
    return Mapping(*backbone_rules(), same("restore.{p}", "head.base_pt_block.{p}"))


def pooled_mapping(pooled: bool) -> Mapping:
    """`PatchTSMixerForTimeSeriesClassification` and `...ForRegression` into `PatchTSMixerPooled`.

    Args:
        pooled: whether patches are pooled; kept ones the release flattens features first.
    """

    def columns(weight: Tensor, embedding: Tensor, patch_mlp: Tensor) -> Tensor:
        if pooled:
            return weight
        dim, count = embedding.shape[0], patch_mlp.shape[0]
        return weight.unflatten(1, (-1, dim, count)).transpose(2, 3).flatten(1)

    shapes = ["model.encoder.patcher.weight", "model.encoder.mlp_mixer_encoder.mixers.0.patch_mixer.mlp.fc2.weight"]
    injection = [
        ("expand_statistics", "map_scale_expansion"),
        ("contract_statistics", "map_scale_compression"),
        ("expand", "inverse_trans_expansion"),
        ("contract", "inverse_trans_compression"),
    ]
    return Mapping(
        *backbone_rules(),
        *(same(f"injection.{ours}.{{p}}", f"inject_scale.{theirs}.{{p}}") for ours, theirs in injection),
        derive("output.weight", ["head.projection.weight", *shapes], columns),
        same("output.bias", "head.projection.bias"),
        derive(
            "output.weight",
            ["head.projection.proj.{*}.weight", *shapes],
            lambda *w: interleaved(*(columns(part, *w[-2:]) for part in w[:-2])),
        ),
        derive("output.bias", "head.projection.proj.{*}.bias", interleaved),
    )


def channel_head_mapping() -> Mapping:
    """granite-tsfm's `ForecastChannelHeadMixer` into `ChannelReconciliation`."""
    return Mapping(
        same("embedding.{p}", "fcm_embedding.{p}"),
        *layer_rules("mixer.{i}.", "exog_mixer.mixers.{i}."),
        same("gate.weigh.{p}", "fcm_gating_block.attn_layer.{p}"),
        same("correct.{p}", "mlp.{p}"),
    )
