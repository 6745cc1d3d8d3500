"""TransKD's release (RuipingL/TransKD) in our names; the student's are SegFormer's."""

__all__ = ["fusion_rules", "mixer_rules", "segformer_rules", "transkd_rules"]

import torch

from apps.vision.backbones.mit import MiT
from apps.vision.backbones.names_mit import mit_official
from apps.vision.rules import below, conv_rules
from apps.vision.segmentation.models.transkd import MatchEA, MatchGL, TransKD
from core.checkpoint import Rule, derive, same


def segformer_rules(backbone: MiT) -> list[Rule]:
    """SegFormer with the release's head, as an `EncoderDecoder`."""
    rules = below("backbone.", "", mit_official(backbone).trunk)
    rules += [
        same(f"head.levels.{n}.{p}", f"linear_c{n + 1}.proj.{p}")
        for n in range(len(backbone.channels))
        for p in ("weight", "bias")
    ]
    rules += conv_rules("head.fuse", "linear_fuse.conv", "linear_fuse.bn")
    return rules + [same(f"head.out.{p}", f"linear_pred.{p}") for p in ("weight", "bias")]


def fusion_rules(official: bool) -> list[Rule]:
    """One level of the fusion."""
    rules = conv_rules("enter", "conv1.0", "conv1.1") + conv_rules("out", "conv2.0", "conv2.1")
    rules += conv_rules("squeeze", "fc.0", "fc.1")
    rules += [same(f"choose.{k}.{p}", f"fcs.{k}.{p}") for k in range(2) for p in ("weight", "bias")]
    return rules + ([same("alone.weight", "fc1.0.weight")] if official else [])


def mixer_rules() -> list[Rule]:
    """The mixer of the last level's embedding."""
    rules = [same("qkv.weight", "attn4.qkv.weight")]
    rules += [same("attention_weight", "atten_weight"), same("conv_weight", "conv_weight")]
    pairs = (("proj", "attn4.proj"), ("value", "conv1"), ("gate", "conv2"))
    return rules + [same(f"{a}.{p}", f"{b}.{p}") for a, b in pairs for p in ("weight", "bias")]


def transkd_rules(network: TransKD, official: bool = False) -> list[Rule]:
    """Student, fusion and what compares embeddings."""
    student = network.student.backbone
    assert isinstance(student, MiT)
    rules, count = below("student.", "student.", segformer_rules(student)), len(student.channels)
    for n in range(count):
        rules += below(f"fusions.{n}.", f"skfs.{count - 1 - n}.", fusion_rules(official))
        rules += [same(f"match.linear.{n}.{p}", f"embed{n + 1}_linearproject.{p}") for p in ("weight", "bias")]
    if isinstance(network.match, MatchGL):
        rules += below("match.mixer.", "", mixer_rules())
    if isinstance(network.match, MatchEA):
        rules.append(derive("match.weights", [f"fuse_weights.{n}" for n in range(2 * count)], _joined))
        rules += [same(f"match.embed.{n}.{{m}}.{{p}}", f"patch_embed{n + 1}.{{m}}.{{p}}") for n in range(count)]
    return rules


def _joined(*numbers: torch.Tensor) -> torch.Tensor:
    return torch.cat(numbers)
