"""MiT under its release's class names and arguments.

The bare class differs from the published networks: no bias in q, k and v, eps 1e-5, other widths.
"""

__all__ = ["MIT"]

from torch import nn

from apps.vision.backbones.goldens_common import call_pyramid, released
from apps.vision.backbones.mit import MiT
from apps.vision.backbones.names_mit import mit_attention_rules, mit_official
from apps.vision.golden_calls import call_tokens, on_map
from core.checkpoint import Mapping
from core.mixers import ReducedAttention
from core.verify import Facts, Golden


def _attention(facts: Facts) -> nn.Module:
    ratio = facts.get("sr_ratio", 1)
    return ReducedAttention(
        facts.config["dim"],
        facts.get("num_heads", 8),
        (ratio, ratio),
        bias=facts.get("qkv_bias", False),
        scale=facts.get("qk_scale", None),
        official=True,
    )


def _backbone(facts: Facts) -> MiT:
    network = MiT(
        facts.get("embed_dims", (64, 128, 256, 512)),
        facts.get("depths", (3, 4, 6, 3)),
        facts.get("num_heads", (1, 2, 4, 8)),
        reductions=facts.get("sr_ratios", (8, 4, 2, 1)),
        mlp_ratios=facts.get("mlp_ratios", (4, 4, 4, 4)),
        channels=facts.get("in_chans", 3),
        bias=facts.get("qkv_bias", False),
        score_scale=facts.get("qk_scale", None),
        official=True,
    )
    for stage in network.stages:
        for block in stage.blocks:
            block.mix.norm.eps = block.feed.norm.eps = facts.get("norm_eps", 1e-5)
        stage.norm.eps = facts.get("norm_eps", 1e-5)
    return network


MIT = {
    "Attention": Golden(
        on_map(_attention, lambda facts: (facts.config["H"], facts.config["W"])),
        Mapping(*mit_attention_rules("", "")),
        call_tokens,
    ),
    "MixVisionTransformer": Golden(_backbone, released(_backbone, mit_official), call_pyramid),
}
