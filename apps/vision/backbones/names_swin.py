"""Names of Swin's weights: the release's (classification and dense prediction), timm's and torchvision's.

A table of another window (a file of window 7 for a network of window 12, or a level that was smaller than the window)
is resized bicubically, as the release does for finetuning.
"""

__all__ = ["swin_block_rules", "swin_official", "swin_timm", "swin_torchvision"]

from collections.abc import Callable
from math import isqrt

from torch import Tensor

from apps.vision.backbones.names import Release
from apps.vision.backbones.swin import Swin
from apps.vision.rules import frame_rules, thirds
from core.checkpoint import Rule, derive, same
from core.positions.absolute import resize_grid

# Rebuilt here.
_TABLES = ("{x*}.attn_mask", "{x*}.relative_position_index", "attn_mask", "relative_position_index")
_HEAD = same("norm_tokens.{p}", "norm.{p}")


def swin_block_rules(
    ours: str, theirs: str, window: tuple[int, int], first: str = "mlp.fc1", second: str = "mlp.fc2"
) -> tuple[Rule, ...]:
    """One block with windows of this size."""
    return (
        *frame_rules(ours, theirs, first, second),
        *thirds(f"{ours}mix.inner.groups.", f"{theirs}attn."),
        derive(
            f"{ours}mix.inner.groups.score_bias.table", f"{theirs}attn.relative_position_bias_table", _resized(window)
        ),
    )


def _resized(window: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """Tables (2 w - 1 squared, heads) of square windows to those of another; what is no such table stays."""
    height, width = (2 * size - 1 for size in window)

    def resize(table: Tensor) -> Tensor:
        side = isqrt(len(table))
        if len(table) == height * width or side**2 != len(table):
            return table
        return resize_grid(table.view(side, side, -1), (height, width)).flatten(0, 1)

    return resize


def _blocks(backbone: Swin, theirs: Callable[[int], str], *layers: str) -> list[Rule]:
    """The blocks of all levels, whose names in front of a block's own `theirs` tells; `layers` are those of the MLP."""
    rules: list[Rule] = []
    for level, stage in enumerate(backbone.stages):
        if len(stage.blocks):  # type: ignore[arg-type]
            window = stage.blocks[0].mix.inner.partition.window  # type: ignore[index, union-attr]
            rules += swin_block_rules(f"stages.{level}.blocks.{{j}}.", theirs(level), window, *layers)
    return rules


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
            *_blocks(backbone, lambda level: f"layers.{level}.blocks.{{j}}."),
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
            *_blocks(backbone, lambda level: f"layers.{level}.blocks.{{j}}."),
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
            *_blocks(backbone, lambda level: f"features.{2 * level + 1}.{{j}}.", "mlp.0", "mlp.3"),
        ),
        (_HEAD, same("linear.{p}", "head.{p}")),
        ignore=_TABLES,
    )
