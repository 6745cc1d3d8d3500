"""ConvNeXt's weights under the names of its release, of timm and of torchvision."""

__all__ = ["convnext_release", "convnext_timm", "convnext_torchvision"]

from apps.vision.backbones.base import Backbone
from apps.vision.backbones.convnext import ConvNeXt
from apps.vision.backbones.names import Release
from core.checkpoint import Rule, derive, same


def convnext_release(network: ConvNeXt) -> Release:
    """facebookresearch/ConvNeXt, which ConvNeXt's successors in segmentation and detection share (norm0 .. norm3)."""
    return Release(
        (
            *_stem("downsample_layers.0."),
            *_downs(network, "downsample_layers.{i}."),
            *_block("stages.{i}.{j}.", "dwconv", "norm", "pwconv1", "pwconv2", "gamma"),
        ),
        (same("norm_pooled.{p}", "norm.{p}"), same("linear.{p}", "head.{p}")),
        (same("{i}.{p}", "norm{i}.{p}"),),
    )


def convnext_timm(network: ConvNeXt) -> Release:
    """timm's `convnext_*`."""
    return Release(
        (
            *_stem("stem."),
            *_downs(network, "stages.{i}.downsample."),
            *_block("stages.{i}.blocks.{j}.", "conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma"),
        ),
        (same("norm_pooled.{p}", "head.norm.{p}"), same("linear.{p}", "head.fc.{p}")),
    )


def convnext_torchvision(network: ConvNeXt) -> Release:
    """torchvision's `convnext_*`: stem and stages, downsamplings between them, are one row of `features`."""
    rules: list[Rule] = list(_stem("features.0."))
    for i in range(len(network.channels)):
        theirs = f"features.{2 * i}."
        rules += _down(i, theirs) if i else ()
        theirs, ours = f"features.{2 * i + 1}.{{j}}.", f"stages.{i}.blocks.{{j}}."
        rules += _block(theirs, "block.0", "block.2", "block.3", "block.5", None, ours)
        rules += [derive(f"{ours}scale", f"{theirs}layer_scale", lambda scale: scale.flatten())]
    return Release(tuple(rules), (same("norm_pooled.{p}", "classifier.0.{p}"), same("linear.{p}", "classifier.2.{p}")))


def _stem(theirs: str) -> tuple[Rule, ...]:
    return (
        same("stages.0.down.embed.proj.{p}", f"{theirs}0.{{p}}"),
        same("stages.0.down.embed.norm.{p}", f"{theirs}1.{{p}}"),
    )


def _down(i: int, theirs: str) -> tuple[Rule, ...]:
    return (
        same(f"stages.{i}.down.norm.{{p}}", f"{theirs}0.{{p}}"),
        same(f"stages.{i}.down.embed.proj.{{p}}", f"{theirs}1.{{p}}"),
    )


def _downs(network: Backbone, theirs: str) -> tuple[Rule, ...]:
    """The first stage's place under these names is the stem's."""
    return tuple(rule for i in range(1, len(network.channels)) for rule in _down(i, theirs.format(i=i)))


def _block(
    theirs: str, conv: str, norm: str, enter: str, leave: str, scale: str | None, ours: str = "stages.{i}.blocks.{j}."
) -> tuple[Rule, ...]:
    rules = [
        same(f"{ours}inner.conv.{{p}}", f"{theirs}{conv}.{{p}}"),
        same(f"{ours}inner.norm.{{p}}", f"{theirs}{norm}.{{p}}"),
        same(f"{ours}inner.mlp.enter.{{p}}", f"{theirs}{enter}.{{p}}"),
        same(f"{ours}inner.mlp.leave.{{p}}", f"{theirs}{leave}.{{p}}"),
    ]
    return (*rules, *([] if scale is None else [same(f"{ours}scale", f"{theirs}{scale}")]))
