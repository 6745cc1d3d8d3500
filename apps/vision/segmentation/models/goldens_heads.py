"""Heads under mmsegmentation's constructor arguments."""

__all__ = ["HEADS"]

from collections.abc import Callable

from torch import Tensor

from apps.vision.rules import COUNTERS
from apps.vision.segmentation.models.fcn import FCNHead
from apps.vision.segmentation.models.names_heads import FCN, UPER, head_rules
from apps.vision.segmentation.models.segformer import ActivatedSegFormerHead
from apps.vision.segmentation.models.semantic_fpn import SemanticFPNHead
from apps.vision.segmentation.models.upernet import UPerHead
from core.checkpoint import Mapping
from core.verify import Facts, Golden


def _mapping(*pairs: tuple[str, str]) -> Mapping:
    return Mapping(*head_rules(pairs), ignore=COUNTERS)


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
        _mapping(*UPER),
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
        _mapping(*FCN),
        _call,
    ),
}
