"""The MetaFormers' weights under the names of the two releases and of timm."""

__all__ = ["metaformer_release", "metaformer_timm", "poolformer_release"]

from collections.abc import Sequence

from apps.vision.backbones.metaformer import MetaFormer, pool_head
from apps.vision.backbones.names import Release
from apps.vision.rules import pointwise, third
from core.checkpoint import Rule, derive, same

OURS = "stages.{i}.blocks.{j}."


def metaformer_release(network: MetaFormer) -> Release:
    """sail-sg/metaformer."""
    return Release(
        (
            same("stages.{i}.down.embed.proj.{p}", "downsample_layers.{i}.conv.{p}"),
            same("stages.0.down.embed.norm.{p}", "downsample_layers.0.post_norm.{p}"),
            same("stages.{i}.down.norm.{p}", "downsample_layers.{i}.pre_norm.{p}"),
            *_block("stages.{i}.{j}."),
        ),
        (
            same("norm_pooled.{p}", "norm.{p}"),
            same("linear.{p}", "head.{p}"),
            *_mlp_head("head."),
        ),
    )


def poolformer_release(network: MetaFormer) -> Release:
    """sail-sg/poolformer: stages and downsamplings take turns in one list; fork_feat norm0, norm2, ..."""
    rules = [same("stages.0.down.embed.proj.{p}", "patch_embed.proj.{p}")]
    for i in range(len(network.channels)):
        if i:
            rules.append(same(f"stages.{i}.down.embed.proj.{{p}}", f"network.{2 * i - 1}.proj.{{p}}"))
        rules += _block(f"network.{2 * i}.{{j}}.", f"stages.{i}.blocks.{{j}}.", scales="layer_scale_{n}")
    return Release(
        tuple(rules),
        (same("norm_tokens.{p}", "norm.{p}"), same("linear.{p}", "head.{p}")),
        tuple(same(f"{i}.{{p}}", f"norm{2 * i}.{{p}}") for i in range(len(network.channels))),
    )


def metaformer_timm(network: MetaFormer) -> Release:
    """timm's classes, with the downsampling inside its stage."""
    norm = "norm_tokens" if network.make_head is pool_head else "norm_pooled"
    return Release(
        (
            same("stages.0.down.embed.proj.{p}", "stem.conv.{p}"),
            same("stages.0.down.embed.norm.{p}", "stem.norm.{p}"),
            same("stages.{i}.down.embed.proj.{p}", "stages.{i}.downsample.conv.{p}"),
            same("stages.{i}.down.norm.{p}", "stages.{i}.downsample.norm.{p}"),
            *_block("stages.{i}.blocks.{j}."),
        ),
        (
            same(f"{norm}.{{p}}", "head.norm.{p}"),
            same("linear.{p}", "head.fc.{p}"),
            *_mlp_head("head.fc."),
        ),
    )


def _mlp_head(theirs: str) -> Sequence[Rule]:
    return (
        same("enter.{p}", f"{theirs}fc1.{{p}}"),
        same("norm.{p}", f"{theirs}norm.{{p}}"),
        same("leave.{p}", f"{theirs}fc2.{{p}}"),
    )


def _block(theirs: str, ours: str = OURS, scales: str = "layer_scale{n}.scale") -> Sequence[Rule]:
    mixer = f"{theirs}token_mixer."
    rules = [
        *(derive(f"{ours}mix.inner.{name}.{{p}}", f"{mixer}qkv.{{p}}", third(n)) for n, name in enumerate("qkv")),
        same(f"{ours}mix.inner.out.{{p}}", f"{mixer}proj.{{p}}"),
        *sep_conv_rules(f"{ours}mix.inner.", mixer),
    ]
    for n, branch in ((1, "mix"), (2, "feed")):
        rules += [
            same(f"{ours}{branch}.norm.{{p}}", f"{theirs}norm{n}.{{p}}"),
            same(f"{ours}{branch}.scale", f"{theirs}{scales.format(n=n)}"),
            same(f"{ours}{branch}.residual", f"{theirs}res_scale{n}.scale"),
        ]
    return [
        *rules,
        derive(f"{ours}feed.inner.enter.{{p}}", f"{theirs}mlp.fc1.{{p}}", pointwise),
        derive(f"{ours}feed.inner.leave.{{p}}", f"{theirs}mlp.fc2.{{p}}", pointwise),
        same(f"{ours}feed.inner.activation.{{p}}", f"{theirs}mlp.act.{{p}}"),
    ]


def sep_conv_rules(ours: str, theirs: str) -> Sequence[Rule]:
    """A separable convolution."""
    return (
        derive(f"{ours}enter.weight", f"{theirs}pwconv1.weight", pointwise),
        derive(f"{ours}leave.weight", f"{theirs}pwconv2.weight", pointwise),
        same(f"{ours}conv.weight", f"{theirs}dwconv.weight"),
        same(f"{ours}activation.{{p}}", f"{theirs}act1.{{p}}"),
    )
