"""MaxViT under timm's class names and arguments.

Whole models have the settings of timm's conversions from TensorFlow.  The part by itself has timm's bare settings: q, k
and v inside each head, eps 1e-6, the exact GELU.
"""

__all__ = ["MAXVIT"]

from torch import nn

from apps.vision.backbones.goldens_common import Whole, call_whole, released
from apps.vision.backbones.maxvit import MaxViT, maxvit_blocks
from apps.vision.backbones.names_maxvit import maxvit_attention_rules, maxvit_timm
from apps.vision.golden_calls import channels_first, pair
from core.channels import MLP
from core.checkpoint import Mapping, derive
from core.verify import Facts, Golden


def _whole(facts: Facts) -> nn.Module:
    side = pair(facts.get("img_size", 224))[0]
    widths, stem = facts.weights.get("head.fc.bias", (1000,)), facts.weights.get("stem.conv1.weight", (64, 3))
    backbone = MaxViT(
        facts.get("embed_dim", (64, 128, 256, 512)),
        facts.get("depths", (2, 2, 5, 2)),
        stem=facts.get("stem_width", 64),
        window=facts.get("window", side // 32),
        head_dim=facts.get("dim_head", 32),
        channels=stem[1],
    )
    return Whole(backbone, widths[0])


def _heads(facts: Facts) -> int:
    return facts.config["dim"] // facts.get("dim_head", 32)


def _attention(facts: Facts) -> nn.Module:
    grid = facts.get("partition_type", "block") == "grid"
    size = pair(facts.get("grid_size" if grid else "window_size", 7))
    dim = facts.config["dim"]
    block = maxvit_blocks(dim, _heads(facts), size)[grid]
    block.mix.norm.eps = block.feed.norm.eps = 1e-6
    block.feed.inner = MLP(dim, int(dim * facts.get("expand_ratio", 4)))
    return block


def _attention_mapping(facts: Facts) -> Mapping:
    rules = list(maxvit_attention_rules("", "", _heads(facts)))
    if facts.get("rel_pos_type", "bias") == "bias":
        # Swin's own table.
        name = "relative_position_bias_table"
        rules = [rule for rule in rules if not rule.sources[0].endswith(name)]
        rules.append(derive("mix.inner.groups.score_bias.table", f"attn.rel_pos.{name}", lambda table: table))
    return Mapping(*rules, ignore=["attn.rel_pos.relative_position_index"])


MAXVIT = {
    "PartitionAttentionCl": Golden(_attention, _attention_mapping),
    "MaxxVit": Golden(_whole, released(_whole, maxvit_timm), call_whole(channels_first)),
}
