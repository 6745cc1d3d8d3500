"""DLGSANet and its parts under their official names.

The layers of softmax attention have windows of 48 in evaluation whatever the release's constructor is given.
"""

__all__ = ["DLGSANET", "dlgsanet_mapping"]

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from apps.vision.golden_calls import call_part
from apps.vision.rules import pointwise_rules
from apps.vision.superres.models.dlgsanet import DLGSANet, GatedDepthwiseMLP, Projected
from apps.vision.superres.models.shell import DirectUpsampler, ShuffleUpsampler
from core.blocks import Block
from core.channels import MLP
from core.checkpoint import Mapping, Rule, derive, same
from core.mixers import ChannelAttention, DynamicFilter
from core.mixers.channel_attention import row_softmax
from core.mixers.convolution import DepthwiseConv
from core.verify import Facts, Golden

_SOFTMAX_WINDOW = 48
_WEIGHTINGS = {"relu": nn.ReLU, "gelu": nn.GELU, "sigmoid": nn.Sigmoid}


def feed(facts: Facts, kind: str, dim: int) -> nn.Module:
    """The feed-forward of the local (`idynamic`) or global (`restormer`) layers."""
    hidden = int(dim * facts.get(f"{kind}_ffn_expansion_factor", 2.0))
    if facts.get(f"{kind}_ffn_type", "GDFN") == "GDFN":
        return GatedDepthwiseMLP(dim, hidden)
    return MLP(dim, hidden)


def local_layer(facts: Facts, dim: int) -> Block:
    kernel = facts.get("window_size", 7)
    if facts.get("idynamic", True):
        mixer: nn.Module = DynamicFilter(dim, dim // facts.get("idynamic_num_heads", 6), kernel=kernel)
    else:
        mixer = DepthwiseConv(dim, (kernel, kernel))
    return Block(dim, Projected(dim, mixer), feed(facts, "idynamic", dim))


def attention(facts: Facts, dim: int, heads: int, *, sparse: bool, bias: bool = False) -> ChannelAttention:
    window = facts.get("tlc_kernel", 48)
    weighting: Callable[[], nn.Module] = row_softmax
    if sparse:
        weighting = _WEIGHTINGS.get(facts.get("activation", "relu"), nn.Identity)
    window = window if facts.get("tlc_flag", True) else None
    return ChannelAttention(dim, heads, bias=bias, weighting=weighting, window=window)


def global_layer(facts: Facts, dim: int, *, sparse: bool) -> Block:
    mixer = attention(facts, dim, facts.get("restormer_num_heads", 6), sparse=sparse)
    return Block(dim, mixer, feed(facts, "restormer", dim))


def softmax_layer(facts: Facts, dim: int) -> Block:
    layer = global_layer(facts, dim, sparse=False)
    if layer.mix.inner.window is not None:
        layer.mix.inner.window = _SOFTMAX_WINDOW
    return layer


def layers(facts: Facts) -> list[Callable[[int], nn.Module]]:
    local, sparse = partial(local_layer, facts), partial(global_layer, facts, sparse=True)
    softmax = partial(softmax_layer, facts)
    kinds = {"sparseedge": [local, sparse], "edge": [local, softmax], "idynamic": [local], "restormer": [softmax]}
    return kinds[facts.get("buildblock_type", "edge")]


def upsampler(facts: Facts) -> Callable[[int, int, int], nn.Module]:
    kind = facts.get("upsampler", "")
    if kind == "pixelshuffle":
        return ShuffleUpsampler
    # Without an upsampler the last convolution is all there is, whatever the scale.
    return (
        DirectUpsampler if kind == "pixelshuffledirect" else lambda dim, channels, _: DirectUpsampler(dim, channels, 1)
    )


def dlgsanet(facts: Facts) -> DLGSANet:
    return DLGSANet(
        facts.get("upscale", 4),
        channels=facts.get("in_chans", 3),
        dim=facts.get("dim", 60),
        groups=facts.get("groups", 4),
        blocks=facts.get("blocks", 3),
        layers=layers(facts),
        make_upsampler=upsampler(facts),
        body_norm=facts.get("body_norm", False),
        value_range=facts.get("img_range", 1.0),
    )


def filter_rules(ours: str, theirs: str) -> list[Rule]:
    return [
        *pointwise_rules(f"{ours}reduce", f"{theirs}conv1.0"),
        same(f"{ours}near.{{p}}", f"{theirs}conv1.1.{{p}}"),
        *pointwise_rules(f"{ours}weights", f"{theirs}conv2.0"),
    ]


def projected_rules(ours: str, theirs: str) -> list[Rule]:
    return [
        *pointwise_rules(f"{ours}enter", f"{theirs}conv0"),
        *pointwise_rules(f"{ours}leave", f"{theirs}conv1"),
        *filter_rules(f"{ours}inner.", f"{theirs}conv."),
        same(f"{ours}inner.{{p}}", f"{theirs}conv.{{p}}"),
    ]


def attention_rules(ours: str, theirs: str) -> list[Rule]:
    return [
        derive(f"{ours}temperature", f"{theirs}temperature", lambda t: t[:, 0, 0]),
        *pointwise_rules(f"{ours}qkv", f"{theirs}qkv"),
        same(f"{ours}local.{{p}}", f"{theirs}qkv_dwconv.{{p}}"),
        *pointwise_rules(f"{ours}out", f"{theirs}project_out"),
    ]


def gated_rules(ours: str, theirs: str) -> list[Rule]:
    return [
        *pointwise_rules(f"{ours}enter", f"{theirs}project_in"),
        same(f"{ours}near.{{p}}", f"{theirs}dwconv.{{p}}"),
        *pointwise_rules(f"{ours}leave", f"{theirs}project_out"),
    ]


def feed_rules(ours: str, theirs: str) -> list[Rule]:
    return [
        *gated_rules(ours, theirs),
        *pointwise_rules(f"{ours}enter", f"{theirs}body.0"),
        *pointwise_rules(f"{ours}leave", f"{theirs}body.2"),
    ]


def layer_rules(ours: str, theirs: str) -> list[Rule]:
    return [
        same(f"{ours}mix.norm.{{p}}", f"{theirs}norm1.body.{{p}}"),
        *projected_rules(f"{ours}mix.inner.", f"{theirs}IDynamicDWConv."),
        same(f"{ours}feed.norm.{{p}}", f"{theirs}norm2.body.{{p}}"),
        *feed_rules(f"{ours}feed.inner.", f"{theirs}IDynamic_ffn."),
        same(f"{ours}mix.norm.{{p}}", f"{theirs}norm3.body.{{p}}"),
        *attention_rules(f"{ours}mix.inner.", f"{theirs}restormer_attn."),
        same(f"{ours}feed.norm.{{p}}", f"{theirs}norm4.body.{{p}}"),
        *feed_rules(f"{ours}feed.inner.", f"{theirs}restormer_ffn."),
    ]


def dlgsanet_mapping(network: DLGSANet) -> Mapping:
    """For a network: where its convolutions stand in the release's lists depends on the number of layers."""
    groups = [name for name, part in network.body.named_children() if not isinstance(part, nn.LayerNorm)]
    last = len(network.body.get_submodule(groups[0]).layers)
    body = "deep_feature_extraction"
    rules = [
        same("enter.{p}", "overlap_embed.0.proj.{p}"),
        same("body.{g}.{p}", f"{body}.{{g}}.body.{{p}}"),
        same("body.{g}.conv.{p}", f"{body}.{{g}}.body.{last}.{{p}}"),
        *layer_rules("body.{g}.layers.{i}.", f"{body}.{{g}}.body.{{i}}."),
        same("join.{p}", f"{body}.{len(network.body)}.{{p}}"),
    ]
    if isinstance(network.upsampler, ShuffleUpsampler):
        rules += [
            same("upsampler.enter.{p}", "conv_before_upsample.0.{p}"),
            *(same(f"upsampler.steps.{i}.{{p}}", f"upsample.{2 * i}.{{p}}") for i in range(3)),
            same("upsampler.leave.{p}", "conv_last.{p}"),
        ]
    else:
        rules += [same("upsampler.conv.{p}", name) for name in ("upsample.0.{p}", "conv_last.{p}")]
    return Mapping(*rules, ignore=["mean"])


class _Group(nn.Module):
    """A group of layers as the release builds it, with the mapping's names."""

    def __init__(self, facts: Facts) -> None:
        super().__init__()
        parts = DLGSANet(1, dim=facts.config["dim"], groups=1, blocks=facts.get("blocks", 3), layers=layers(facts))
        self.group = parts.body[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.group(x)


def _group_mapping(facts: Facts) -> Mapping:
    last = facts.get("blocks", 3) * len(layers(facts))
    return Mapping(same("group.conv.{p}", f"body.{last}.{{p}}"), *layer_rules("group.layers.{i}.", "body.{i}."))


def _filter(facts: Facts) -> nn.Module:
    dim, kernel = facts.config["channels"], facts.config["kernel_size"]
    return DynamicFilter(dim, dim // facts.config["group_channels"], kernel=kernel, bias=facts.get("bias", True))


def _projected(facts: Facts) -> nn.Module:
    dim, kernel, bias = facts.config["dim"], facts.config["window_size"], facts.get("bias", True)
    if not facts.get("dynamic", True):
        return Projected(dim, DepthwiseConv(dim, (kernel, kernel), bias=bias))
    return Projected(dim, DynamicFilter(dim, dim // facts.config["heads"], kernel=kernel, bias=bias))


def _attention(facts: Facts, *, sparse: bool) -> nn.Module:
    config = facts.config
    return attention(facts, config["dim"], config["num_heads"], sparse=sparse, bias=config["bias"])


def _gated(facts: Facts) -> nn.Module:
    config = facts.config
    return GatedDepthwiseMLP(config["dim"], int(config["dim"] * config["ffn_expansion_factor"]), bias=config["bias"])


def _plain(facts: Facts) -> nn.Module:
    dim = facts.config["dim"]
    return MLP(dim, int(dim * facts.get("ffn_expansion_factor", 2)), bias=facts.get("bias", False))


DLGSANET = {
    "DLGSANet": Golden(dlgsanet, lambda facts: dlgsanet_mapping(dlgsanet(facts))),
    "BuildBlock": Golden(_Group, _group_mapping, call_part),
    "IDynamicLayerBlock": Golden(
        lambda facts: local_layer(facts, facts.config["dim"]), Mapping(*layer_rules("", "")), call_part
    ),
    "RestormerLayerBlock": Golden(
        lambda facts: global_layer(facts, facts.config["dim"], sparse=False), Mapping(*layer_rules("", "")), call_part
    ),
    "SparseAttentionLayerBlock": Golden(
        lambda facts: global_layer(facts, facts.config["dim"], sparse=True), Mapping(*layer_rules("", "")), call_part
    ),
    "IDynamicDWConvBlock": Golden(_projected, Mapping(*projected_rules("", "")), call_part),
    "IDynamicDWConv": Golden(_filter, Mapping(*filter_rules("", "")), call_part),
    "Attention": Golden(partial(_attention, sparse=False), Mapping(*attention_rules("", "")), call_part),
    "SparseAttention": Golden(partial(_attention, sparse=True), Mapping(*attention_rules("", "")), call_part),
    "FeedForward": Golden(_gated, Mapping(*gated_rules("", "")), call_part),
    "BaseFeedForward": Golden(
        _plain, Mapping(*pointwise_rules("enter", "body.0"), *pointwise_rules("leave", "body.2")), call_part
    ),
}
