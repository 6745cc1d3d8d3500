"""Names of CSWin's weights in microsoft/CSWin-Transformer (classification and segmentation); timm has no CSWin."""

__all__ = ["cswin_block_rules", "cswin_official"]

from apps.vision.backbones.cswin import CSWin
from apps.vision.backbones.names import Release
from apps.vision.rules import frame_rules
from core.checkpoint import Rule, same


def cswin_block_rules(ours: str, theirs: str) -> tuple[Rule, ...]:
    """One block."""
    return (
        *frame_rules(ours, theirs),
        same(f"{ours}mix.inner.qkv.{{p}}", f"{theirs}qkv.{{p}}"),
        same(f"{ours}mix.inner.branches.{{b}}.lepe.{{p}}", f"{theirs}attns.{{b}}.get_v.{{p}}"),
        same(f"{ours}mix.inner.out.{{p}}", f"{theirs}proj.{{p}}"),
    )


def cswin_official(backbone: CSWin) -> Release:
    """Levels are counted from 1."""
    rules = [
        same("stages.0.down.proj.{p}", "stage1_conv_embed.0.{p}"),
        same("stages.0.down.norm.{p}", "stage1_conv_embed.2.{p}"),
    ]
    norms = []
    for level in range(len(backbone.stages)):
        if level:
            rules.append(same(f"stages.{level}.down.proj.{{p}}", f"merge{level}.conv.{{p}}"))
            rules.append(same(f"stages.{level}.down.norm.{{p}}", f"merge{level}.norm.{{p}}"))
        rules += cswin_block_rules(f"stages.{level}.blocks.{{j}}.", f"stage{level + 1}.{{j}}.")
        norms.append(same(f"{level}.{{p}}", f"norm{level + 1}.{{p}}"))
    head = (same("norm_tokens.{p}", "norm.{p}"), same("linear.{p}", "head.{p}"))
    return Release(tuple(rules), head, tuple(norms))
