"""SHViT's and EfficientViT's weights under the names of their releases and of timm.

Released files hold 1 x 1 convolutions as convolutions or, from an early version on, as matrices; both are taken.
"""

__all__ = [
    "cascaded_rules",
    "efficientvit_release",
    "efficientvit_timm",
    "shvit_release",
    "shvit_timm",
    "single_head_rules",
]

from torch import Tensor

from apps.vision.backbones.efficientvit import EfficientViT
from apps.vision.backbones.names import Release
from apps.vision.backbones.shvit import SHViT
from core.checkpoint import Rule, derive, same

SKIPPED = ("{x*}.attention_bias_idxs", "{x*}.ab", "head_dist.{x*}")


def shvit_release(network: SHViT) -> Release:
    """ysj9909/SHViT: downsamplings are the first three of a stage's blocks."""
    rules = _stem()
    for i, stage in enumerate(network.stages):
        rules += _released_down(i)
        for j in range(len(stage.blocks)):  # type: ignore[arg-type]
            rules += _shvit_block(f"stages.{i}.blocks.{j}.", f"blocks{i + 1}.{j + 3 * (i > 0)}.")
    return Release(tuple(rules), _head("l"), ignore=SKIPPED)


def shvit_timm(network: SHViT) -> Release:
    """timm's `shvit_*`."""
    rules = _stem()
    for i in range(1, len(network.channels)):
        theirs = f"stages.{i}.downsample."
        rules += _down(i, (f"{theirs}0.", f"{theirs}1."), f"{theirs}2.", (f"{theirs}3.", f"{theirs}4."))
    rules += _shvit_block("stages.{i}.blocks.{j}.", "stages.{i}.blocks.{j}.")
    return Release(tuple(rules), _head("l"), ignore=SKIPPED)


def efficientvit_release(network: EfficientViT) -> Release:
    """microsoft/Cream, EfficientViT: downsamplings are the first three of a stage's blocks."""
    rules = _stem()
    for i, stage in enumerate(network.stages):
        rules += _released_down(i)
        for j in range(len(stage.blocks)):  # type: ignore[arg-type]
            rules += _efficientvit_block(f"stages.{i}.blocks.{j}.", f"blocks{i + 1}.{j + 3 * (i > 0)}.", "c")
    return Release(tuple(rules), _head("l"), ignore=SKIPPED)


def efficientvit_timm(network: EfficientViT) -> Release:
    """timm's `efficientvit_m*`."""
    rules = [rule for n in range(4) for rule in _conv(f"stages.0.down.{2 * n}.", f"patch_embed.conv{n + 1}.", "conv")]
    for i in range(1, len(network.channels)):
        theirs = f"stages.{i}.downsample."
        before, after = ((f"{theirs}{name}.0.", f"{theirs}{name}.1.") for name in ("res1", "res2"))
        rules += _down(i, before, f"{theirs}patchmerge.", after, "conv")
    rules += _efficientvit_block("stages.{i}.blocks.{j}.", "stages.{i}.blocks.{j}.", "conv")
    return Release(tuple(rules), _head("linear"), ignore=SKIPPED)


def single_head_rules(ours: str, theirs: str) -> list[Rule]:
    """SHViT's mixer."""
    norm = same(f"{ours}norm.{{p}}", f"{theirs}pre_norm.{{p}}")
    return [norm, *_conv(f"{ours}qkv.", f"{theirs}qkv."), *_conv(f"{ours}out.", f"{theirs}proj.1.")]


def cascaded_rules(ours: str, theirs: str, conv: str = "c") -> list[Rule]:
    """EfficientViT's mixer."""
    return [
        same(f"{ours}table", f"{theirs}attention_biases"),
        *_conv(f"{ours}qkv.{{h}}.", f"{theirs}qkvs.{{h}}.", conv),
        *_conv(f"{ours}local.{{h}}.", f"{theirs}dws.{{h}}.", conv),
        *_conv(f"{ours}out.", f"{theirs}proj.1.", conv),
    ]


def _conv(ours: str, theirs: str, conv: str = "c") -> list[Rule]:
    """A convolution with its batch norm."""
    return [
        derive(f"{ours}conv.weight", f"{theirs}{conv}.weight", _kernel),
        same(f"{ours}norm.{{p}}", f"{theirs}bn.{{p}}"),
    ]


def _kernel(weight: Tensor) -> Tensor:
    return weight[..., None, None] if weight.ndim == 2 else weight


def _feed(ours: str, theirs: str, conv: str = "c") -> list[Rule]:
    return [
        *_conv(f"{ours}enter.", f"{theirs}m.pw1.", conv),
        *_conv(f"{ours}leave.", f"{theirs}m.pw2.", conv),
    ]


def _stem() -> list[Rule]:
    return _conv("stages.0.down.{n}.", "patch_embed.{n}.")


def _down(i: int, before: tuple[str, str], merge: str, after: tuple[str, str], conv: str = "c") -> list[Rule]:
    ours = f"stages.{i}.down."
    rules = []
    for at, (local, feed) in ((0, before), (3, after)):
        rules += [*_conv(f"{ours}{at}.", f"{local}m.", conv), *_feed(f"{ours}{at + 1}.", feed, conv)]
    for a, b in (("enter", "conv1"), ("local", "conv2"), ("leave", "conv3")):
        rules += _conv(f"{ours}2.{a}.", f"{merge}{b}.", conv)
    for a, b in (("enter", "fc1"), ("leave", "fc2")):
        rules += [
            derive(f"{ours}2.squeeze.{a}.weight", f"{merge}se.{b}.weight", lambda w: w.flatten(1)),
            same(f"{ours}2.squeeze.{a}.bias", f"{merge}se.{b}.bias"),
        ]
    return rules


def _released_down(i: int) -> list[Rule]:
    theirs = f"blocks{i + 1}."
    pairs = [(f"{theirs}{at}.0.", f"{theirs}{at}.1.") for at in (0, 2)]
    return _down(i, pairs[0], f"{theirs}1.", pairs[1]) if i else []


def _shvit_block(ours: str, theirs: str) -> list[Rule]:
    return [
        *_conv(f"{ours}local.", f"{theirs}conv.m."),
        *single_head_rules(f"{ours}mixer.", f"{theirs}mixer.m."),
        *_feed(f"{ours}feed.", f"{theirs}ffn."),
    ]


def _efficientvit_block(ours: str, theirs: str, conv: str) -> list[Rule]:
    rules = cascaded_rules(f"{ours}mixer.", f"{theirs}mixer.m.attn.", conv)
    for n, side in ((0, "before"), (1, "after")):
        rules += _conv(f"{ours}{side}.0.", f"{theirs}dw{n}.m.", conv)
        rules += _feed(f"{ours}{side}.1.", f"{theirs}ffn{n}.", conv)
    return rules


def _head(linear: str) -> tuple[Rule, ...]:
    return same("norm.{p}", "head.bn.{p}"), same("linear.{p}", f"head.{linear}.{{p}}")
