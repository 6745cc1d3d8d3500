"""Names of Swin's weights: the release's (classification and dense prediction), timm's and torchvision's."""

__all__ = ["swin_block_rules", "swin_official", "swin_timm", "swin_torchvision"]

from apps.vision.backbones.names import Release, thirds
from apps.vision.backbones.swin import Swin
from core.checkpoint import Rule, same

# Rebuilt here.
_TABLES = ("{x*}.attn_mask", "{x*}.relative_position_index", "attn_mask", "relative_position_index")
_HEAD = same("norm_tokens.{p}", "norm.{p}")


def swin_block_rules(ours: str, theirs: str, first: str = "mlp.fc1", second: str = "mlp.fc2") -> tuple[Rule, ...]:
    """One block."""
    return (
        same(f"{ours}mix.norm.{{p}}", f"{theirs}norm1.{{p}}"),
        *thirds(f"{ours}mix.inner.groups.", f"{theirs}attn."),
        same(f"{ours}mix.inner.groups.score_bias.table", f"{theirs}attn.relative_position_bias_table"),
        same(f"{ours}feed.norm.{{p}}", f"{theirs}norm2.{{p}}"),
        same(f"{ours}feed.inner.enter.{{p}}", f"{theirs}{first}.{{p}}"),
        same(f"{ours}feed.inner.leave.{{p}}", f"{theirs}{second}.{{p}}"),
    )


def swin_official(backbone: Swin) -> Release:
    """microsoft/Swin-Transformer: merging at the end of a level."""
    merging = [
        same(f"stages.{i + 1}.down.{{m}}.{{p}}", f"layers.{i}.downsample.{{m}}.{{p}}")
        for i in range(len(backbone.stages) - 1)
    ]
    return Release(
        (
            same("stages.0.down.{m}.{p}", "patch_embed.{m}.{p}"),
            *merging,
            *swin_block_rules("stages.{i}.blocks.{j}.", "layers.{i}.blocks.{j}."),
        ),
        (_HEAD, same("linear.{p}", "head.{p}")),
        tuple(same(f"{i}.{{p}}", f"norm{i}.{{p}}") for i in range(len(backbone.stages))),
        _TABLES,
    )


def swin_timm(backbone: Swin) -> Release:
    """timm: merging at the start of a level."""
    return Release(
        (
            same("stages.0.down.{m}.{p}", "patch_embed.{m}.{p}"),
            same("stages.{i}.down.{m}.{p}", "layers.{i}.downsample.{m}.{p}"),
            *swin_block_rules("stages.{i}.blocks.{j}.", "layers.{i}.blocks.{j}."),
        ),
        (_HEAD, same("linear.{p}", "head.fc.{p}")),
        ignore=_TABLES,
    )


def swin_torchvision(backbone: Swin) -> Release:
    """torchvision: one list of stem, level, merging, level, ..."""
    levels = range(len(backbone.stages))
    return Release(
        (
            same("stages.0.down.proj.{p}", "features.0.0.{p}"),
            same("stages.0.down.norm.{p}", "features.0.2.{p}"),
            *(same(f"stages.{i}.down.{{m}}.{{p}}", f"features.{2 * i}.{{m}}.{{p}}") for i in levels if i),
            *(
                rule
                for i in levels
                for rule in swin_block_rules(
                    f"stages.{i}.blocks.{{j}}.", f"features.{2 * i + 1}.{{j}}.", "mlp.0", "mlp.3"
                )
            ),
        ),
        (_HEAD, same("linear.{p}", "head.{p}")),
        ignore=_TABLES,
    )
