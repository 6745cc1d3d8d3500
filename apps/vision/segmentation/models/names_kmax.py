"""kMaX-DeepLab's release (bytedance/kmax-deeplab) in our names, for the whole system and its parts."""

__all__ = [
    "attention_rules",
    "block_rules",
    "conv_rules",
    "decoder_rules",
    "fuse_rules",
    "kmax_mapping",
    "layer_rules",
    "pixel_rules",
    "plain_semantic_rules",
    "plane_rules",
    "predictor_rules",
    "pyramid_rules",
    "query_rules",
    "semantic_rules",
]

from dataclasses import replace

from torch import Tensor

from apps.vision.backbones.convnext import ConvNeXt
from apps.vision.backbones.names_convnext import convnext_release
from apps.vision.backbones.names_resnet import resnet_detectron
from apps.vision.backbones.resnet import ResNet
from apps.vision.segmentation.models.kmax import KMaX
from apps.vision.segmentation.models.kmax_heads import PlainSemanticHead
from core.checkpoint import Mapping, Rule, derive, same


def pointwise(weight: Tensor) -> Tensor:
    """A convolution over one place is a linear layer."""
    return weight.flatten(1) if weight[0, 0].numel() == 1 else weight


def norm_rules(ours: str, theirs: str) -> list[Rule]:
    """A batch norm."""
    return [same(f"{ours}.{p}", f"{theirs}.{p}") for p in ("weight", "bias", "running_mean", "running_var")]


def conv_rules(ours: str, theirs: str) -> list[Rule]:
    """A convolution with or without bias, and its norm."""
    weight = derive(f"{ours}.conv.weight", f"{theirs}.conv.weight", pointwise)
    return [weight, same(f"{ours}.conv.bias", f"{theirs}.conv.bias"), *norm_rules(f"{ours}.norm", f"{theirs}.norm")]


def attention_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """Position-sensitive attention along one axis."""
    rules = [derive(f"{ours}qkv.weight", f"{theirs}qkv_transform.conv.weight", pointwise)]
    rules += [
        same(f"{ours}{p}_table", f"{theirs}_{name}_rpe._embeddings.weight")
        for p, name in (("q", "query"), ("k", "key"), ("v", "value"))
    ]
    norms = (("qkv_norm", "qkv"), ("score_norm", "similarity"), ("norm", "retrieved_output"))
    return rules + [r for p, name in norms for r in norm_rules(f"{ours}{p}", f"{theirs}_batch_norm_{name}")]


def plane_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """Both axes."""
    columns = attention_rules(f"{ours}columns.", f"{theirs}_height_axis.")
    return columns + attention_rules(f"{ours}rows.", f"{theirs}_width_axis.")


def block_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """A block of the pixel decoder, either kind."""
    rules = plane_rules(ours, f"{theirs}_attention.")
    convs = (("short", "shortcut"), ("enter", "conv1_bn_act"), ("middle", "conv2_bn_act"), ("leave", "conv3_bn"))
    return rules + [r for p, name in convs for r in conv_rules(f"{ours}{p}", f"{theirs}_{name}")]


def fuse_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """The sum of two levels."""
    sides = (("coarse", "low"), ("fine", "high"))
    return [r for p, name in sides for r in conv_rules(f"{ours}{p}", f"{theirs}_conv_bn_{name}")]


def pixel_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """The pixel decoder."""
    rules = [same(f"{ours}norms.{{i}}.{p}", f"{theirs}_in_norms.{{i}}.{p}") for p in ("weight", "bias")]
    rules += block_rules(f"{ours}stages.{{i}}.{{j}}.", f"{theirs}_stages.{{i}}._blocks.{{j}}.")
    return rules + fuse_rules(f"{ours}fuses.{{i}}.", f"{theirs}_resized_fuses.{{i}}.")


def many(pairs: dict[str, str], ours: str, theirs: str) -> list[Rule]:
    """Convolutions with norms."""
    return [rule for a, b in pairs.items() for rule in conv_rules(f"{ours}{a}", f"{theirs}{b}")]


def linear_rules(ours: str, theirs: str) -> list[Rule]:
    """A convolution over one place, with bias and without norm."""
    return [derive(f"{ours}.weight", f"{theirs}.conv.weight", pointwise), same(f"{ours}.bias", f"{theirs}.conv.bias")]


def predictor_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """Classes and masks."""
    head = f"{theirs}_pixel_space_head_"
    rules = many({"around": "conv0bnact", "wide": "conv1bnact", "pixels": "last_convbn"}, ours, head)
    rules += conv_rules(f"{ours}masks", f"{theirs}_transformer_mask_head")
    rules += linear_rules(f"{ours}classes", f"{theirs}_transformer_class_head")
    return rules + norm_rules(f"{ours}mask_norm", f"{theirs}_pixel_space_mask_batch_norm")


def query_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """Attention among queries."""
    rules = norm_rules(f"{ours}score_norm", f"{theirs}_batch_norm_similarity")
    return rules + norm_rules(f"{ours}norm", f"{theirs}_batch_norm_retrieved_value")


def layer_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """A layer of the transformer decoder."""
    convs = {
        "pixels": "_pixel_conv1_bn_act",
        "queries": "_query_conv1_bn_act",
        "qkv": "_query_qkv_conv_bn",
        "attended": "_query_conv3_bn",
        "feed_in": "_query_ffn_conv1_bn_act",
        "feed_out": "_query_ffn_conv2_bn",
    }
    rules = many(convs, ours, theirs) + predictor_rules(f"{ours}predictor.", f"{theirs}_predcitor.")
    rules += query_rules(f"{ours}attention.", f"{theirs}_query_self_attention.")
    for weight, norm, name in (("v", "v_norm", "_pixel_v_conv_bn"), ("out", "norm", "_kmeans_query_conv3_bn")):
        rules.append(derive(f"{ours}kmeans.{weight}.weight", f"{theirs}{name}.conv.weight", pointwise))
        rules += norm_rules(f"{ours}kmeans.{norm}", f"{theirs}{name}.norm")
    return rules + norm_rules(f"{ours}kmeans.sum_norm", f"{theirs}_kmeans_query_batch_norm_retrieved_value")


def decoder_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """The transformer decoder, without the semantic head that the release keeps in it."""
    rules = layer_rules(f"{ours}layers.{{i}}.", f"{theirs}_kmax_transformer_layers.{{i}}.")
    rules.append(derive(f"{ours}centres", f"{theirs}_cluster_centers.weight", lambda table: table.T))
    rules += many({"classes": "_class_embedding_projection", "masks": "_mask_embedding_projection"}, ours, theirs)
    return rules + predictor_rules(f"{ours}predictor.", f"{theirs}_predcitor.")


def pyramid_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """Atrous pyramid pooling."""
    convs = {"point": "_aspp_conv0", "mean": "_aspp_pool", "proj": "_proj_conv_bn_act"}
    convs |= {f"wide.{n}": f"_aspp_conv{n + 1}" for n in range(3)}
    return many(convs, ours, theirs)


def semantic_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """Panoptic-DeepLab's semantic head."""
    convs = {"around": "conv_block_0", "wide": "conv_block_1"}
    for n, level in enumerate(("os8", "os4")):
        convs |= {f"lower.{n}.low": f"_low_level_projection_{level}"}
        parts = (("around", "conv0"), ("out", "conv1"))
        convs |= {f"lower.{n}.{a}": f"_low_level_fusion_{level}_{b}_bn_act" for a, b in parts}
    rules = many(convs, ours, theirs) + pyramid_rules(f"{ours}pyramid.", f"{theirs}_aspp.")
    return rules + linear_rules(f"{ours}out", f"{theirs}final_conv")


def plain_semantic_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """The semantic head for Cityscapes."""
    return many({"around": "0", "wide": "1"}, ours, theirs) + linear_rules(f"{ours}out", f"{theirs}2")


def kmax_mapping(network: KMaX) -> Mapping:
    """The whole system over a ResNet or a ConvNeXt: `core.checkpoint.load(network, read(path), kmax_mapping(network))`.

    Raises:
        ValueError: another backbone, for which there is no release.
    """
    if isinstance(network.backbone, ResNet):
        release = resnet_detectron(network.backbone)
    elif isinstance(network.backbone, ConvNeXt):
        release = convnext_release(network.backbone)
    else:
        raise ValueError(f"kmax_mapping: {type(network.backbone).__name__}; releases have a ResNet or a ConvNeXt")
    rules = [
        replace(rule, target=f"backbone.{rule.target}", sources=tuple(f"backbone.{name}" for name in rule.sources))
        for rule in release.trunk
    ]
    rules += pixel_rules("pixel_decoder.", "sem_seg_head.pixel_decoder.")
    rules += decoder_rules("decoder.", "sem_seg_head.predictor.")
    theirs = "sem_seg_head.predictor._auxiliary_semantic_predictor."
    if isinstance(network.semantic, PlainSemanticHead):
        rules += plain_semantic_rules("semantic.", theirs)
    elif network.semantic is not None:
        rules += semantic_rules("semantic.", theirs)
    spare = () if network.semantic is not None else (f"{theirs}{{rest*}}",)
    return Mapping(*rules, ignore=("{rest*}.num_batches_tracked", "criterion.{rest*}", *spare))
