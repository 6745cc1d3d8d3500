"""BiFormer under its official constructor arguments.

Not known here: pooled keys and values, soft or differentiable routing, norms behind the branches, convolutions in the
MLP, which no released network has.
"""

__all__ = ["BIFORMER"]

from typing import Any

from torch import nn

from apps.vision.backbones.biformer import BiFormer, InputConvAttention
from apps.vision.backbones.goldens_common import Whole, call_whole, released
from apps.vision.backbones.names_biformer import biformer_release, input_conv_rules, routing_rules
from apps.vision.golden_calls import channels_first
from core.checkpoint import Mapping
from core.mixers import BiLevelRoutingAttention
from core.verify import Facts, Golden

_DEFAULTS: dict[str, Any] = {
    "param_attention": "qkvo",
    "param_routing": False,
    "diff_routing": False,
    "soft_routing": False,
    "pre_norm": True,
    "mlp_dwconv": False,
    "pe": None,
}


def _check(facts: Facts) -> None:
    """Raises ValueError for what is not known here."""
    wanted = _DEFAULTS | {"kv_downsample_mode": "identity"}
    other = {key: value for key, value in facts.config.items() if key in wanted and value != wanted[key]}
    if other:
        raise ValueError(f"{facts.cls} of BiFormer with {other} is not known here")


def _network(facts: Facts) -> Whole:
    _check(facts)
    dims, ratios = facts.get("embed_dim", (64, 128, 320, 512)), facts.get("mlp_ratios", (4, 4, 4, 4))
    layer_scale = facts.get("layer_scale_init_value", -1)
    if list(facts.get("qk_dims", dims)) != list(dims) or len(set(ratios)) != 1:
        raise ValueError("BiFormer with queries of another width or several MLP ratios is not known here")
    backbone = BiFormer(
        facts.get("depth", (3, 4, 8, 3)),
        dims,
        head_dim=facts.get("head_dim", 64),
        regions=facts.get("n_win", 7),
        chosen=[None if k == -2 else k for k in facts.get("topks", (8, 8, -1, -1))],
        mlp_ratio=ratios[0],
        layer_scale=layer_scale if layer_scale > 0 else None,
        score_scale=facts.get("qk_scale", None),
        channels=facts.get("in_chans", 3),
        official=True,
    )
    return Whole(backbone, facts.get("num_classes", 1000))


def _routing(facts: Facts) -> nn.Module:
    _check(facts)
    return BiLevelRoutingAttention(
        facts.config["dim"],
        facts.get("num_heads", 8),
        regions=facts.get("n_win", 7),
        chosen=facts.get("topk", 4),
        kernel=facts.get("side_dwconv", 3),
        qk_dim=facts.get("qk_dim", None),
        scale=facts.get("qk_scale", None),
        official=True,
    )


def _routing_mapping(facts: Facts) -> Mapping:
    return Mapping(*routing_rules("", "", facts.get("qk_dim", None) or facts.config["dim"]))


def _all(facts: Facts) -> nn.Module:
    return InputConvAttention(
        facts.config["dim"],
        facts.get("num_heads", 8),
        kernel=facts.get("side_dwconv", 5),
        bias=facts.get("qkv_bias", False),
        scale=facts.get("qk_scale", None),
    )


BIFORMER = {
    "BiFormer": Golden(_network, released(_network, biformer_release), call_whole(channels_first)),
    "BiLevelRoutingAttention": Golden(_routing, _routing_mapping),
    "AttentionLePE": Golden(_all, Mapping(*input_conv_rules("", ""))),
}
