"""Names of CrossFormer's weights in cheerss/CrossFormer; timm has no CrossFormer."""

__all__ = ["crossformer_attention_rules", "crossformer_block_rules", "crossformer_official"]

from apps.vision.backbones.crossformer import Cooling, CrossFormer
from apps.vision.backbones.names import Release
from apps.vision.rules import frame_rules, thirds
from core.checkpoint import Rule, same


def crossformer_attention_rules(ours: str, theirs: str) -> tuple[Rule, ...]:
    """One attention, with the network of its bias."""
    network = f"{ours}score_bias."
    return (
        *thirds(ours, theirs),
        same(f"{network}enter.{{p}}", f"{theirs}pos.pos_proj.{{p}}"),
        *(same(f"{network}norms.{i}.{{p}}", f"{theirs}pos.pos{i + 1}.0.{{p}}") for i in range(3)),
        *(same(f"{network}layers.{i}.{{p}}", f"{theirs}pos.pos{i + 1}.2.{{p}}") for i in range(3)),
    )


def crossformer_block_rules(ours: str, theirs: str) -> tuple[Rule, ...]:
    """One block, without the cooling behind it."""
    return (
        *frame_rules(ours, theirs),
        *crossformer_attention_rules(f"{ours}mix.inner.groups.", f"{theirs}attn."),
    )


def crossformer_official(backbone: CrossFormer) -> Release:
    """Merging at the end of a level; cooling belongs to the block in front of it."""
    rules = [same("stages.0.down.{m*}.{p}", "patch_embed.{m*}.{p}")]
    for level, stage in enumerate(backbone.stages):
        if level:
            theirs = f"layers.{level - 1}.downsample."
            rules.append(same(f"stages.{level}.down.norm.{{p}}", f"{theirs}norm.{{p}}"))
            rules.append(same(f"stages.{level}.down.embed.projs.{{k}}.{{p}}", f"{theirs}reductions.{{k}}.{{p}}"))
        number = -1
        for place, block in enumerate(stage.blocks):
            ours = f"stages.{level}.blocks.{place}."
            if isinstance(block, Cooling):
                rules.append(same(f"{ours}local.{{p}}", f"layers.{level}.blocks.{number}.ex_conv.{{p}}"))
                rules.append(same(f"{ours}norm.{{p}}", f"layers.{level}.blocks.{number}.ex_ln.{{p}}"))
            else:
                number += 1
                rules += crossformer_block_rules(ours, f"layers.{level}.blocks.{number}.")
    return Release(
        tuple(rules),
        (same("norm_tokens.{p}", "norm.{p}"), same("linear.{p}", "head.{p}")),
        ignore=("{x*}.attn_mask", "{x*}.relative_position_index", "{x*}.biases"),
    )
