"""HorNet's weights under the names of its release."""

__all__ = ["gated_conv_rules", "hornet_release"]


from apps.vision.backbones.hornet import HorNet
from apps.vision.backbones.names import Release
from apps.vision.rules import frame_rules, pointwise
from core.checkpoint import Rule, derive, same


def hornet_release(network: HorNet) -> Release:
    """raoyongming/HorNet."""
    downs: list[Rule] = []
    for i in range(1, len(network.channels)):
        downs += [
            same(f"stages.{i}.down.norm.{{p}}", f"downsample_layers.{i}.0.{{p}}"),
            same(f"stages.{i}.down.embed.proj.{{p}}", f"downsample_layers.{i}.1.{{p}}"),
        ]
    ours, theirs = "stages.{i}.blocks.{j}.", "stages.{i}.{j}."
    return Release(
        (
            same("stages.0.down.embed.proj.{p}", "downsample_layers.0.0.{p}"),
            same("stages.0.down.embed.norm.{p}", "downsample_layers.0.1.{p}"),
            *downs,
            *frame_rules(ours, theirs, "pwconv1", "pwconv2"),
            same(f"{ours}mix.scale", f"{theirs}gamma1"),
            *gated_conv_rules(f"{ours}mix.inner.", f"{theirs}gnconv."),
            same(f"{ours}feed.scale", f"{theirs}gamma2"),
        ),
        (same("norm_pooled.{p}", "norm.{p}"), same("linear.{p}", "head.{p}")),
        (same("{i}.{p}", "norm{i}.{p}"),),
    )


def gated_conv_rules(ours: str, theirs: str) -> list[Rule]:
    """A recursive gated convolution of either kind; linear layers are 1 x 1 convolutions there."""
    pairs = (("enter", "proj_in"), ("steps.{n}", "pws.{n}"), ("leave", "proj_out"))
    return [
        *(derive(f"{ours}{a}.{{p}}", f"{theirs}{b}.{{p}}", pointwise) for a, b in pairs),
        same(f"{ours}conv.weight", f"{theirs}dwconv.weight"),
        same(f"{ours}conv.bias", f"{theirs}dwconv.bias"),
        same(f"{ours}conv.filter", f"{theirs}dwconv.complex_weight"),
        same(f"{ours}conv.local.{{p}}", f"{theirs}dwconv.dw.{{p}}"),
        same(f"{ours}conv.norm.{{p}}", f"{theirs}dwconv.pre_norm.{{p}}"),
        same(f"{ours}conv.norm_after.{{p}}", f"{theirs}dwconv.post_norm.{{p}}"),
    ]
