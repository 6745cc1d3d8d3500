"""BiFormer's weights under the names of its release."""

__all__ = ["biformer_release", "input_conv_rules", "routing_rules"]

from collections.abc import Callable

from torch import Tensor

from apps.vision.backbones.biformer import BiFormer, InputConvAttention
from apps.vision.backbones.names import Release
from apps.vision.rules import conv_rules, thirds
from core.checkpoint import Rule, derive, same


def biformer_release(network: BiFormer) -> Release:
    """rayleizhu/BiFormer; its dense code has `extra_norms`."""
    rules: list[Rule] = []
    for at, (conv, norm) in ((0, (0, 1)), (2, (3, 4))):
        rules += conv_rules(f"stages.0.down.{at}", f"downsample_layers.0.{conv}", f"downsample_layers.0.{norm}")
    for i, stage in enumerate(network.stages):
        if i:
            rules += conv_rules(f"stages.{i}.down", f"downsample_layers.{i}.0", f"downsample_layers.{i}.1")
        mixer = stage.blocks[0].block.mix.inner  # type: ignore[union-attr, index]
        ours, theirs = f"stages.{i}.blocks.{{j}}.block.mix.inner.", f"stages.{i}.{{j}}.attn."
        if isinstance(mixer, InputConvAttention):
            rules += input_conv_rules(ours, theirs)
        else:
            rules += routing_rules(ours, theirs, mixer.q.out_features)
    ours, theirs = "stages.{i}.blocks.{j}.", "stages.{i}.{j}."
    for branch, number in (("mix", 1), ("feed", 2)):
        rules += [
            same(f"{ours}block.{branch}.norm.{{p}}", f"{theirs}norm{number}.{{p}}"),
            same(f"{ours}block.{branch}.scale", f"{theirs}gamma{number}"),
        ]
    rules += [
        same(f"{ours}position.{{p}}", f"{theirs}pos_embed.{{p}}"),
        same(f"{ours}block.feed.inner.enter.{{p}}", f"{theirs}mlp.0.{{p}}"),
        same(f"{ours}block.feed.inner.leave.{{p}}", f"{theirs}mlp.3.{{p}}"),
    ]
    return Release(
        tuple(rules),
        (same("norm.{p}", "norm.{p}"), same("linear.{p}", "head.{p}")),
        (same("{i}.{p}", "extra_norms.{i}.{p}"),),
    )


def routing_rules(ours: str, theirs: str, width: int) -> list[Rule]:
    """Bi-level routing attention with queries and keys of a width."""

    def rows(start: int, end: int | None) -> Callable[[Tensor], Tensor]:
        return lambda fused: fused[start:end]

    ends = (("q", 0, width), ("k", width, 2 * width), ("v", 2 * width, None))
    return [
        *(derive(f"{ours}{name}.{{p}}", f"{theirs}qkv.qkv.{{p}}", rows(a, b)) for name, a, b in ends),
        same(f"{ours}lepe.{{p}}", f"{theirs}lepe.{{p}}"),
        same(f"{ours}out.{{p}}", f"{theirs}wo.{{p}}"),
    ]


def input_conv_rules(ours: str, theirs: str) -> list[Rule]:
    """The attention of the last stage."""
    return [*thirds(f"{ours}attention.", theirs), same(f"{ours}local.{{p}}", f"{theirs}lepe.{{p}}")]
