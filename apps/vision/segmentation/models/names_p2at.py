"""P2AT's release (mohamedac29/P2AT) in our names, for the whole network and its parts."""

__all__ = [
    "attention_rules",
    "block_rules",
    "context_rules",
    "decoder_rules",
    "details_rules",
    "fusion_rules",
    "head_rules",
    "p2at_mapping",
    "pyramid_rules",
    "refine_rules",
    "upward_rules",
]

from apps.vision.rules import COUNTERS, NORM
from apps.vision.rules import conv_rules as plain_conv_rules
from core.checkpoint import Mapping, Rule, derive, same


def conv_rules(ours: str, theirs: str, act: bool = True) -> list[Rule]:
    """A convolution, its norm and activation."""
    rules = plain_conv_rules(ours, f"{theirs}.conv", f"{theirs}.bn")
    return rules + ([same(f"{ours}.act.weight", f"{theirs}.act.weight")] if act else [])


def plain_rules(ours: str, theirs: str) -> list[Rule]:
    """A convolution and a norm that stand side by side."""
    return plain_conv_rules(ours, f"{theirs}.0.conv", f"{theirs}.1")


def pyramid_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """The pyramid of means."""
    return conv_rules(f"{ours}enter", f"{theirs}conv1") + conv_rules(f"{ours}conv", f"{theirs}conv2")


def details_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """The details."""
    return plain_rules(f"{ours}enter", f"{theirs}conv1") + plain_rules(f"{ours}details", f"{theirs}conv2")


def attention_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """P2A2."""
    rules = [same(f"{ours}{p}.weight", f"{theirs}to_{p}.conv.weight") for p in "qkv"]
    for axis, name in (("rows", "row"), ("columns", "column")):
        for p in "qk":
            table = derive(f"{ours}{axis}.{p}_position", f"{theirs}pos_emb_{name}_{p}.pos_embed", lambda t: t[0])
            rules.append(table)
    rules += conv_rules(f"{ours}rows.out", f"{theirs}proj_encode_row")
    rules.append(same(f"{ours}columns.out.weight", f"{theirs}proj_encode_column.conv.weight"))
    rules += conv_rules(f"{ours}proj", f"{theirs}proj")
    rules += pyramid_rules(f"{ours}pyramid.", f"{theirs}pool_feats_processor.")
    return rules + details_rules(ours, f"{theirs}details_enhancer.")


def block_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """Attention and feed-forward network."""
    rules = attention_rules(f"{ours}attention.", f"{theirs}attn.")
    rules += [same(f"{ours}{p}.weight", f"{theirs}mlp.{p}.conv.weight") for p in ("fc1", "fc2")]
    return rules + [same(f"{ours}depthwise.{p}", f"{theirs}mlp.dwconv.{p}") for p in ("weight", "bias")]


def refine_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """Local refinement."""
    rules = conv_rules(f"{ours}enter", f"{theirs}conv1")
    parts = (("far", "conv2"), ("near", "conv3"), ("out", "fuse"))
    return rules + [same(f"{ours}{a}.weight", f"{theirs}{b}.conv.weight") for a, b in parts]


def upward_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """The decoded map and its gate."""
    gate = [same(f"{ours}gate.{p}", f"{theirs}conv2.conv.{p}") for p in ("weight", "bias")]
    return conv_rules(f"{ours}decoded", f"{theirs}conv1") + gate


def fusion_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """Fusion of three maps."""
    rules = refine_rules(f"{ours}fine.", f"{theirs}down_feat.") + upward_rules(ours, f"{theirs}up_feat.")
    return rules + plain_rules(f"{ours}middle", f"{theirs}st_feat") + plain_rules(f"{ours}fuse", f"{theirs}fuse")


def context_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """Convolutions over one pixel: their centres."""

    def centre(weight):
        return weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2, None, None]

    rules = [
        derive(f"{ours}first.weight", f"{theirs}conv1.conv.weight", centre),
        derive(f"{ours}second.conv.weight", f"{theirs}conv2.conv.weight", centre),
        derive(f"{ours}scale", f"{theirs}bn_scale.weight", lambda t: t[:, None, None]),
        derive(f"{ours}shift", f"{theirs}bn_scale.bias", lambda t: t[:, None, None]),
        same(f"{ours}second.act.weight", f"{theirs}conv2.act.weight"),
    ]
    return rules + [same(f"{ours}second.norm.{p}", f"{theirs}conv2.bn.{p}") for p in NORM]


def decoder_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """A decoder block."""
    rules = [same(f"{ours}gamma", f"{theirs}gamma")]
    pairs = (("depthwise", "dwconv.0"), ("fc1", "pwconv1.0"), ("fc2", "pwconv2"))
    rules += [same(f"{ours}{a}.{p}", f"{theirs}{b}.{p}") for a, b in pairs for p in ("weight", "bias")]
    return rules + [same(f"{ours}norm.{p}", f"{theirs}dwconv.1.{p}") for p in NORM]


def head_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """A head of pixels."""
    rules = [same(f"{ours}norm{n}.{p}", f"{theirs}bn{n}.{p}") for n in (1, 2) for p in NORM]
    rules.append(same(f"{ours}conv.weight", f"{theirs}conv1.weight"))
    return rules + [same(f"{ours}out.{p}", f"{theirs}conv2.{p}") for p in ("weight", "bias")]


def p2at_mapping(helpers: bool) -> Mapping:
    """The whole network.

    Args:
        helpers: whether the file has the two heads of training.
    """
    rules = [same("stem.0.weight", "conv1_x.weight"), *(same(f"stem.1.{p}", f"bn1.{p}") for p in NORM)]
    rules += [same(f"layers.{n}.{{rest*}}", f"layer{n + 1}.{{rest*}}") for n in range(4)]
    rules += conv_rules("reduce", "feature_reducer")
    for n in range(2):
        rules += block_rules(f"blocks.{n}.", f"deep_feature_processor.transformer_layers.{n}.")
        rules += fusion_rules(f"fusions.{n}.", f"BiS{4 - n}.")
        rules += context_rules(f"contexts.{n}.", f"pool_gce{4 - n}.")
        rules += conv_rules(f"fuse.{n}", f"fuse{n + 1}")
        rules += head_rules(f"helpers.{n}.", f"aux_seg_head{n + 1}.") if helpers else []
    for n in range(3):
        rules += decoder_rules(f"decoders.{n}.", f"P{n + 1}_decoder.")
        rules += conv_rules(f"refine.{n}", f"refine{n + 1}.c2_")
    return Mapping(*rules, *head_rules("head.", "final_seg_head."), ignore=COUNTERS)
