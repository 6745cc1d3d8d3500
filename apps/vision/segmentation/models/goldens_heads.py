"""Heads under mmsegmentation's constructor arguments."""

__all__ = ["HEADS"]

from collections.abc import Callable

from torch import Tensor

from apps.vision.segmentation.models.fcn import FCNHead
from apps.vision.segmentation.models.segformer import ActivatedSegFormerHead
from apps.vision.segmentation.models.semantic_fpn import SemanticFPNHead
from apps.vision.segmentation.models.upernet import UPerHead
from core.checkpoint import Mapping, Rule, same
from core.verify import Facts, Golden

NORM = ("weight", "bias", "running_mean", "running_var")


def _conv(ours: str, theirs: str) -> list[Rule]:
    return [same(f"{ours}.conv.weight", f"{theirs}.conv.weight")] + [
        same(f"{ours}.norm.{p}", f"{theirs}.bn.{p}") for p in NORM
    ]


def _mapping(*pairs: tuple[str, str]) -> Mapping:
    rules = [rule for ours, theirs in pairs for rule in _conv(ours, theirs)]
    out = [same(f"out.{p}", f"conv_seg.{p}") for p in ("weight", "bias")]
    return Mapping(*rules, *out, ignore=["{rest*}.num_batches_tracked"])


def _call(run: Callable, inputs: dict[str, Tensor]) -> Tensor:
    return run([x.movedim(1, -1) for x in inputs.values()])


def _sizes(facts: Facts) -> tuple:
    return facts.config["in_channels"], facts.config["num_classes"], facts.config["channels"]


HEADS = {
    "SegformerHead": Golden(
        lambda f: ActivatedSegFormerHead(*_sizes(f)),
        _mapping(("levels.{i}", "convs.{i}"), ("fuse", "fusion_conv")),
        _call,
    ),
    "UPerHead": Golden(
        lambda f: UPerHead(*_sizes(f), f.get("pool_scales", (1, 2, 3, 6))),
        _mapping(
            ("pooled.{i}", "psp_modules.{i}.1"),
            ("top", "bottleneck"),
            ("enter.{i}", "lateral_convs.{i}"),
            ("smooth.{i}", "fpn_convs.{i}"),
            ("fuse", "fpn_bottleneck"),
        ),
        _call,
    ),
    "FPNHead": Golden(
        lambda f: SemanticFPNHead(*_sizes(f), pyramid_dim=None),
        # Between two convolutions there is an upsampling, which has a number too.
        _mapping(*((f"levels.{{i}}.{k}", f"scale_heads.{{i}}.{2 * k}") for k in range(3))),
        _call,
    ),
    "FCNHead": Golden(
        lambda f: FCNHead([f.config["in_channels"]], *_sizes(f)[1:], f.get("num_convs", 2), 0),
        _mapping(("convs.{i}", "convs.{i}")),
        _call,
    ),
}
