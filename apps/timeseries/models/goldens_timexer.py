"""TimeXer and DLinear under their official names and calling conventions.

TimeXer: channel order is exogenous first, target last; marks are the calendar of the past.  The official flattening
before the head is width first, ours token first.
"""

__all__ = ["DLINEAR", "TIMEXER"]

import torch
from torch import Tensor, nn

from apps.timeseries.models.dlinear import DLinear
from apps.timeseries.models.timexer import PatchTokens, TimeXer, TimeXerLayer
from core.checkpoint import Mapping, cat, derive, same
from core.verify import Facts, Golden


def activation(facts: Facts) -> type[nn.Module]:
    """The releases take relu by name and gelu for anything else."""
    return nn.ReLU if facts.get("activation", "gelu") == "relu" else nn.GELU


def layer_rules(ours: str, theirs: str) -> list:
    """A TimeXer layer without its cross keys and values."""
    attention = ["query", "key", "value"]
    return [
        cat(f"{ours}qkv.{{p}}", *(f"{theirs}self_attention.{part}_projection.{{p}}" for part in attention)),
        same(f"{ours}out.{{p}}", f"{theirs}self_attention.out_projection.{{p}}"),
        same(f"{ours}cross_q.{{p}}", f"{theirs}cross_attention.query_projection.{{p}}"),
        same(f"{ours}cross_out.{{p}}", f"{theirs}cross_attention.out_projection.{{p}}"),
        derive(f"{ours}expand.weight", f"{theirs}conv1.weight", lambda w: w[..., 0]),
        derive(f"{ours}contract.weight", f"{theirs}conv2.weight", lambda w: w[..., 0]),
        same(f"{ours}expand.bias", f"{theirs}conv1.bias"),
        same(f"{ours}contract.bias", f"{theirs}conv2.bias"),
        *(same(f"{ours}norm{n}.{{p}}", f"{theirs}norm{n}.{{p}}") for n in (1, 2, 3)),
    ]


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
        cat("context_kv.{p}", "encoder.layers.{*}.cross_attention.{key|value}_projection.{p}"),
        *layer_rules("layers.{i}.", "encoder.layers.{i}."),
        same("norm.{p}", "encoder.norm.{p}"),
        derive("forecast.weight", "head.linear.weight", lambda w: w.unflatten(1, (dim, -1)).mT.flatten(1)),
        same("forecast.bias", "head.linear.bias"),
        ignore=["en_embedding.position_embedding.pe"],
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


class LayerWithContext(nn.Module):
    """A TimeXer layer that makes the keys and values of its own cross-attention."""

    def __init__(self, facts: Facts):
        super().__init__()
        dim, self.targets = facts.config["d_model"], facts.get("n_vars", 1)
        self.layer = TimeXerLayer(
            dim, facts.config["n_heads"], facts.get("d_ff", 4 * dim), activation=activation(facts)
        )
        self.context_kv = nn.Linear(dim, 2 * dim)

    def forward(self, x: Tensor, cross: Tensor) -> Tensor:
        kv = self.context_kv(cross).unflatten(2, (2, self.layer.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.layer(x.unflatten(0, (-1, self.targets)), *kv).flatten(0, 1)


class CrossAttention(nn.Module):
    """The release's attention alone: projections around softmax attention of queries over other tokens."""

    def __init__(self, facts: Facts):
        super().__init__()
        dim, self.heads = facts.config["d_model"], facts.config["n_heads"]
        self.q, self.kv, self.out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        q = self.q(queries).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(keys).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))


def patch_tokens(facts: Facts) -> nn.Module:
    _, targets, steps = facts.inputs["x"].shape
    return PatchTokens(steps, targets, facts.config["d_model"], facts.config["patch_len"], drop_tail=True)


def inverted_embedding(facts: Facts) -> nn.Module:
    return nn.Linear(facts.config["seq_len"], facts.config["d_model"])


def call_inverted(run, inputs: dict[str, Tensor]) -> Tensor:
    return run(torch.cat(list(inputs.values()), dim=-1).transpose(1, 2))


TIMEXER = {
    "Model": Golden(timexer, timexer_mapping, call_timexer),
    "EncoderLayer": Golden(
        LayerWithContext,
        Mapping(
            *layer_rules("layer.", ""),
            cat("context_kv.{p}", "cross_attention.{key|value}_projection.{p}"),
        ),
    ),
    "AttentionLayer": Golden(
        CrossAttention,
        Mapping(
            same("q.{p}", "query_projection.{p}"),
            cat("kv.{p}", "{key|value}_projection.{p}"),
            same("out.{p}", "out_projection.{p}"),
        ),
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
