"""TimeXer and DLinear under their official names and calling conventions.

TimeXer: channel order is exogenous first, target last; marks are the calendar of the past.  The official flattening
before the head is width first, ours token first.
"""

__all__ = ["DLINEAR", "TIMEXER"]

import torch
from torch import Tensor, nn

from apps.timeseries.models.dlinear import DLinear
from apps.timeseries.models.timexer import TimeXer
from apps.timeseries.models.timexer_layers import CrossAttention, PatchTokens, TimeXerLayer
from core.checkpoint import Mapping, cat, derive, same
from core.verify import Facts, Golden


def activation(facts: Facts) -> type[nn.Module]:
    """The releases take relu by name and gelu for anything else."""
    return nn.ReLU if facts.get("activation", "gelu") == "relu" else nn.GELU


def layer_rules(ours: str, theirs: str) -> list:
    own, cross = f"{theirs}self_attention.", f"{theirs}cross_attention."
    return [
        cat(f"{ours}qkv.{{p}}", *(f"{own}{part}_projection.{{p}}" for part in ("query", "key", "value"))),
        same(f"{ours}out.{{p}}", f"{own}out_projection.{{p}}"),
        *cross_rules(f"{ours}cross.", cross),
        derive(f"{ours}expand.weight", f"{theirs}conv1.weight", lambda w: w[..., 0]),
        derive(f"{ours}contract.weight", f"{theirs}conv2.weight", lambda w: w[..., 0]),
        same(f"{ours}expand.bias", f"{theirs}conv1.bias"),
        same(f"{ours}contract.bias", f"{theirs}conv2.bias"),
        *(same(f"{ours}norm{n}.{{p}}", f"{theirs}norm{n}.{{p}}") for n in (1, 2, 3)),
    ]


def cross_rules(ours: str, theirs: str) -> list:
    """Everything but the bias of the keys, which changes nothing (`unseen`)."""
    return [
        same(f"{ours}q.{{p}}", f"{theirs}query_projection.{{p}}"),
        same(f"{ours}k.weight", f"{theirs}key_projection.weight"),
        same(f"{ours}v.{{p}}", f"{theirs}value_projection.{{p}}"),
        same(f"{ours}out.{{p}}", f"{theirs}out_projection.{{p}}"),
    ]


def unseen(theirs: str) -> str:
    """The official bias that adds the same to all scores of a query."""
    return f"{theirs}key_projection.bias"


def patch_rules(ours: str, theirs: str) -> list:
    return [
        derive(f"{ours}global_token", f"{theirs}glb_token", lambda token: token[0]),
        same(f"{ours}embedding.weight", f"{theirs}value_embedding.weight"),
    ]


def variates(facts: Facts) -> tuple[int, int]:
    """(targets, exogenous series) of the mode: M has every channel as a target, MS the last, S the only one."""
    channels = facts.get("enc_in", facts.inputs["x_enc"].shape[-1] if "x_enc" in facts.inputs else 1)
    return (1, channels - 1) if facts.get("features", "MS") == "MS" else (channels, 0)


def timexer(facts: Facts) -> nn.Module:
    """The whole model; what a file leaves out has the default of the release's command line."""
    targets, exogenous = variates(facts)
    marks = facts.inputs["x_mark_enc"].shape[-1] if "x_mark_enc" in facts.inputs else facts.get("marks", 0)
    return TimeXer(
        facts.get("seq_len", 96),
        facts.get("pred_len", 96),
        target_dim=targets,
        num_past_feat_dynamic_real=exogenous,
        num_time_feat=marks,
        dim=facts.get("d_model", 512),
        heads=facts.get("n_heads", 8),
        depth=facts.get("e_layers", 2),
        hidden=facts.get("d_ff", 2048),
        patch_length=facts.get("patch_len", 16),
        dropout=facts.get("dropout", 0.1),
        head_dropout=facts.get("dropout", 0.1),
        activation=activation(facts),
        normalize=bool(facts.get("use_norm", 1)),
        drop_tail=True,
    )


def timexer_mapping(facts: Facts) -> Mapping:
    dim = facts.get("d_model", 512)
    return Mapping(
        *patch_rules("patches.", "en_embedding."),
        same("past_embedding.{p}", "ex_embedding.value_embedding.{p}"),
        *layer_rules("layers.{i}.", "encoder.layers.{i}."),
        same("norm.{p}", "encoder.norm.{p}"),
        derive("forecast.weight", "head.linear.weight", lambda w: w.unflatten(1, (dim, -1)).mT.flatten(1)),
        same("forecast.bias", "head.linear.bias"),
        ignore=["en_embedding.position_embedding.pe", unseen("encoder.layers.{i}.cross_attention.")],
    )


def call_timexer(run, inputs: dict[str, Tensor]) -> Tensor:
    x, marks = inputs["x_enc"], inputs.get("x_mark_enc")
    # The module knows how many channels are targets; the rest come first.
    targets = run.module.target_dim
    covariates = x[..., : x.shape[-1] - targets]
    return run(
        x[..., x.shape[-1] - targets :],
        past_feat_dynamic_real=covariates if covariates.shape[-1] else None,
        time_feat=marks,
    )


def layer(facts: Facts) -> nn.Module:
    dim = facts.config["d_model"]
    return TimeXerLayer(dim, facts.config["n_heads"], facts.get("d_ff", 4 * dim), activation=activation(facts))


def call_layer(run, inputs: dict[str, Tensor]) -> Tensor:
    """The release has the targets of all samples in one axis."""
    x, cross = inputs.values()
    return run(x.unflatten(0, (len(cross), -1)), cross).flatten(0, 1)


def patch_tokens(facts: Facts) -> nn.Module:
    _, targets, steps = facts.inputs["x"].shape
    return PatchTokens(steps, targets, facts.config["d_model"], facts.config["patch_len"], drop_tail=True)


def inverted_embedding(facts: Facts) -> nn.Module:
    return nn.Linear(facts.config["seq_len"], facts.config["d_model"])


def call_inverted(run, inputs: dict[str, Tensor]) -> Tensor:
    return run(torch.cat(list(inputs.values()), dim=-1).transpose(1, 2))


TIMEXER = {
    "Model": Golden(timexer, timexer_mapping, call_timexer),
    "EncoderLayer": Golden(layer, Mapping(*layer_rules("", ""), ignore=[unseen("cross_attention.")]), call_layer),
    "AttentionLayer": Golden(
        lambda facts: CrossAttention(facts.config["d_model"], facts.config["n_heads"]),
        Mapping(*cross_rules("", ""), ignore=[unseen("")]),
    ),
    "EnEmbedding": Golden(
        patch_tokens,
        Mapping(*patch_rules("", ""), ignore=["position_embedding.pe"]),
        lambda run, inputs: run(inputs["x"].transpose(1, 2))[0].flatten(0, 1),
    ),
    "DataEmbedding_inverted": Golden(inverted_embedding, Mapping(same("{p}", "value_embedding.{p}")), call_inverted),
}


def dlinear(facts: Facts) -> nn.Module:
    return DLinear(
        facts.get("seq_len", 96),
        facts.get("pred_len", 96),
        target_dim=facts.get("enc_in", facts.inputs["x_enc"].shape[-1]),
        kernel=facts.get("moving_avg", 25),
        individual=bool(facts.get("individual", False)),
    )


def dlinear_mapping(facts: Facts) -> Mapping:
    rules = []
    for ours, theirs in (("seasonal", "Linear_Seasonal"), ("trend", "Linear_Trend")):
        for p in ("weight", "bias"):
            source = f"{theirs}.{{*}}.{p}" if facts.get("individual", False) else f"{theirs}.{p}"
            rules.append(derive(f"{ours}_{p}", source, lambda *maps: torch.stack(maps)))
    return Mapping(*rules)


DLINEAR = {"Model": Golden(dlinear, dlinear_mapping)}
