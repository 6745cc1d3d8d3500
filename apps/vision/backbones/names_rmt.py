"""RMT's weights under the names of its release, whose downsamplings stand at the end of a layer."""

__all__ = ["manhattan_rules", "rmt_release"]

from apps.vision.backbones.names import Release
from apps.vision.backbones.rmt import RMT
from apps.vision.rules import conv_rules
from core.checkpoint import Rule, derive, same


def rmt_release(network: RMT) -> Release:
    """qhfan/RMT; its segmentation code has `extra_norms`."""
    rules: list[Rule] = []
    for n in range(4):
        rules += conv_rules(f"stages.0.down.{2 * n}", f"patch_embed.proj.{3 * n}", f"patch_embed.proj.{3 * n + 1}")
    for i in range(1, len(network.channels)):
        theirs = f"layers.{i - 1}.downsample."
        rules += conv_rules(f"stages.{i}.down", f"{theirs}reduction", f"{theirs}norm")
    ours, theirs = "stages.{i}.blocks.{j}.", "layers.{i}.blocks.{j}."
    rules += [
        same(f"{ours}position.{{p}}", f"{theirs}pos.conv.{{p}}"),
        same(f"{ours}block.mix.norm.{{p}}", f"{theirs}retention_layer_norm.{{p}}"),
        derive(f"{ours}block.mix.scale", f"{theirs}gamma_1", lambda scale: scale.flatten()),
        *manhattan_rules(f"{ours}block.mix.inner.", f"{theirs}retention."),
        same(f"{ours}block.feed.norm.{{p}}", f"{theirs}final_layer_norm.{{p}}"),
        derive(f"{ours}block.feed.scale", f"{theirs}gamma_2", lambda scale: scale.flatten()),
        same(f"{ours}block.feed.inner.enter.{{p}}", f"{theirs}ffn.fc1.{{p}}"),
        same(f"{ours}block.feed.inner.local.{{p}}", f"{theirs}ffn.dwconv.conv.{{p}}"),
        same(f"{ours}block.feed.inner.leave.{{p}}", f"{theirs}ffn.fc2.{{p}}"),
    ]
    return Release(
        tuple(rules),
        (same("enter.{p}", "proj.{p}"), same("norm.{p}", "norm.{p}"), same("leave.{p}", "head.{p}")),
        (same("{i}.{p}", "extra_norms.{i}.{p}"),),
        ("layers.{i}.Relpos.{p}",),
    )


def manhattan_rules(ours: str, theirs: str) -> list[Rule]:
    """The attention of a block."""
    return [
        *(same(f"{ours}{name}.{{p}}", f"{theirs}{name}_proj.{{p}}") for name in ("q", "k", "v", "out")),
        same(f"{ours}lepe.{{p}}", f"{theirs}lepe.conv.{{p}}"),
    ]
