"""Names of MiT's weights in NVlabs/SegFormer; timm has no MiT."""

__all__ = ["mit_attention_rules", "mit_official"]

from apps.vision.backbones.mit import MiT
from apps.vision.backbones.names import Release
from apps.vision.rules import frame_rules
from core.checkpoint import Rule, derive, same


def mit_attention_rules(ours: str, theirs: str) -> tuple[Rule, ...]:
    """One attention."""
    own = f"{ours}attention."
    return (
        same(f"{own}q.{{p}}", f"{theirs}q.{{p}}"),
        derive(f"{own}k.{{p}}", f"{theirs}kv.{{p}}", lambda kv: kv.chunk(2)[0]),
        derive(f"{own}v.{{p}}", f"{theirs}kv.{{p}}", lambda kv: kv.chunk(2)[1]),
        same(f"{own}out.{{p}}", f"{theirs}proj.{{p}}"),
        same(f"{ours}reduce.proj.{{p}}", f"{theirs}sr.{{p}}"),
        same(f"{ours}reduce.norm.{{p}}", f"{theirs}norm.{{p}}"),
    )


def mit_official(backbone: MiT) -> Release:
    """One name a level, counted from 1."""
    rules: list[Rule] = []
    for level in range(len(backbone.stages)):
        ours, theirs = f"stages.{level}.", f"block{level + 1}.{{j}}."
        block = f"{ours}blocks.{{j}}."
        rules += [
            same(f"{ours}down.{{m}}.{{p}}", f"patch_embed{level + 1}.{{m}}.{{p}}"),
            same(f"{ours}norm.{{p}}", f"norm{level + 1}.{{p}}"),
            *frame_rules(block, theirs),
            *mit_attention_rules(f"{block}mix.inner.", f"{theirs}attn."),
            same(f"{block}feed.inner.local.{{p}}", f"{theirs}mlp.dwconv.dwconv.{{p}}"),
        ]
    return Release(tuple(rules), (same("linear.{p}", "head.{p}"),))
