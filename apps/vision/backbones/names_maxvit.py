"""Names of MaxViT's weights in timm's conversions of the TensorFlow release (`maxvit_tiny_tf` and its siblings)."""

__all__ = ["maxvit_attention_rules", "maxvit_timm"]

from collections.abc import Callable

from torch import Tensor

from apps.vision.backbones.maxvit import MaxViT
from apps.vision.backbones.names import Release
from apps.vision.rules import frame_rules, pointwise, third
from core.checkpoint import Rule, derive, same


def _head_third(number: int, heads: int) -> Callable[[Tensor], Tensor]:
    """q, k or v where rows run by heads, and in each of them q, k, v."""
    return lambda fused: fused.unflatten(0, (heads, 3, -1))[:, number].flatten(0, 1)


def _turned(table: Tensor) -> Tensor:
    """(heads, rows, columns) by key minus query -> (rows * columns, heads) by query minus key."""
    return table.flip(1, 2).flatten(1).T


def maxvit_attention_rules(ours: str, theirs: str, heads: int | None = None) -> tuple[Rule, ...]:
    """One block of attention; `heads` where q, k and v run inside each head, as in timm's other networks."""
    mixer, parts = f"{ours}mix.inner.groups.", range(3)
    cut = [third(i) if heads is None else _head_third(i, heads) for i in parts]
    return (
        *frame_rules(ours, theirs),
        *(derive(f"{mixer}{'qkv'[i]}.{{p}}", f"{theirs}attn.qkv.{{p}}", cut[i]) for i in parts),
        same(f"{mixer}out.{{p}}", f"{theirs}attn.proj.{{p}}"),
        derive(f"{mixer}score_bias.table", f"{theirs}attn.rel_pos.relative_position_bias_table", _turned),
    )


def _conv_rules(ours: str, theirs: str) -> tuple[Rule, ...]:
    """One inverted bottleneck; its layers are 1 x 1 convolutions there."""
    return (
        *(_linear(f"{ours}{name}", f"{theirs}{other}") for name, other in _LINEAR),
        *(same(f"{ours}{name}.{{p}}", f"{theirs}{other}.{{p}}") for name, other in _REST),
    )


_LINEAR = (
    ("short", "shortcut.expand"),
    ("enter", "conv1_1x1"),
    ("gate.enter", "se.fc1"),
    ("gate.leave", "se.fc2"),
    ("leave", "conv3_1x1"),
)
_REST = (("norm", "pre_norm"), ("enter_norm", "norm1"), ("local", "conv2_kxk"), ("local_norm", "norm2"))


def _linear(ours: str, theirs: str) -> Rule:
    return derive(f"{ours}.{{p}}", f"{theirs}.{{p}}", pointwise)


def maxvit_timm(backbone: MaxViT) -> Release:
    """A block of theirs is a bottleneck and two of attention; the first bottleneck of a level is our way down to it."""
    rules = [
        same("stages.0.down.0.enter.{p}", "stem.conv1.{p}"),
        same("stages.0.down.0.norm.{p}", "stem.norm1.{p}"),
        same("stages.0.down.0.leave.{p}", "stem.conv2.{p}"),
    ]
    for level, stage in enumerate(backbone.stages):
        theirs = f"stages.{level}.blocks."
        rules += _conv_rules(f"stages.{level}.down.{'' if level else '1.'}", f"{theirs}0.conv.")
        for place in range(len(stage.blocks)):
            ours, number = f"stages.{level}.blocks.{place}.", (place + 1) // 3
            if (place + 1) % 3:
                kind = ("attn_block", "attn_grid")[place % 3]
                rules += maxvit_attention_rules(ours, f"{theirs}{number}.{kind}.")
            else:
                rules += _conv_rules(ours, f"{theirs}{number}.conv.")
    head = (
        same("norm.{p}", "head.norm.{p}"),
        same("enter.{p}", "head.pre_logits.fc.{p}"),
        same("linear.{p}", "head.fc.{p}"),
    )
    return Release(tuple(rules), head, ignore=("{x*}.num_batches_tracked",))
