"""Names of DaViT's weights: the release's (classification and dense prediction) and timm's."""

__all__ = ["davit_block_rules", "davit_channel_rules", "davit_official", "davit_timm"]

from apps.vision.backbones.davit import DaViT
from apps.vision.backbones.names import Release
from apps.vision.rules import frame_rules, thirds
from core.checkpoint import Rule, same
from core.mixers import WindowAttention


def davit_channel_rules(ours: str, theirs: str) -> tuple[Rule, ...]:
    """Attention between channels."""
    return (
        same(f"{ours}qkv.{{p}}", f"{theirs}qkv.{{p}}"),
        same(f"{ours}out.{{p}}", f"{theirs}proj.{{p}}"),
    )


def davit_block_rules(ours: str, theirs: str, *, windows: bool, positions: tuple[str, str]) -> tuple[Rule, ...]:
    """One block, of windows or of channels, with the names of its two positions."""
    mixer, other = f"{ours}mix.inner.", f"{theirs}attn."
    return (
        *(same(f"{ours}positions.{i}.{{p}}", f"{theirs}{name}.proj.{{p}}") for i, name in enumerate(positions)),
        *frame_rules(ours, theirs),
        *(thirds(f"{mixer}groups.", other) if windows else davit_channel_rules(mixer, other)),
    )


def _blocks(backbone: DaViT, level: str, positions: tuple[str, str]) -> list[Rule]:
    """Every block: the release counts pairs, and the two of each."""
    return [
        rule
        for i, stage in enumerate(backbone.stages)
        for j, block in enumerate(stage.blocks)
        for rule in davit_block_rules(
            f"stages.{i}.blocks.{j}.",
            f"{level.format(i)}.{j // 2}.{j % 2}.",
            windows=isinstance(block.mix.inner, WindowAttention),
            positions=positions,
        )
    ]


def davit_official(backbone: DaViT) -> Release:
    """dingmyu/davit."""
    levels = range(len(backbone.stages))
    rules = [same("stages.0.down.{m}.{p}", "patch_embeds.0.{m}.{p}")]
    for i in levels[1:]:
        rules.append(same(f"stages.{i}.down.norm.{{p}}", f"patch_embeds.{i}.norm.{{p}}"))
        rules.append(same(f"stages.{i}.down.embed.proj.{{p}}", f"patch_embeds.{i}.proj.{{p}}"))
    return Release(
        (*rules, *_blocks(backbone, "main_blocks.{}", ("cpe.0", "cpe.1"))),
        (same("norm_pooled.{p}", "norms.{p}"), same("linear.{p}", "head.{p}")),
        tuple(same(f"{i}.{{p}}", f"norm{i}.{{p}}") for i in levels),
    )


def davit_timm(backbone: DaViT) -> Release:
    """timm."""
    return Release(
        (
            same("stages.0.down.proj.{p}", "stem.conv.{p}"),
            same("stages.0.down.norm.{p}", "stem.norm.{p}"),
            same("stages.{i}.down.norm.{p}", "stages.{i}.downsample.norm.{p}"),
            same("stages.{i}.down.embed.proj.{p}", "stages.{i}.downsample.conv.{p}"),
            *_blocks(backbone, "stages.{}.blocks", ("cpe1", "cpe2")),
        ),
        (same("norm_pooled.{p}", "head.norm.{p}"), same("linear.{p}", "head.fc.{p}")),
    )
