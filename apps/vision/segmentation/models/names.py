"""Rules that the names of several releases are made of; prefixes come without their last dot."""

__all__ = ["COUNTERS", "FCN", "NORM", "PARAMETERS", "UPER", "below", "conv_rules", "layer_rules", "pointwise_rules"]

from collections.abc import Iterable
from dataclasses import replace

from core.checkpoint import Rule, derive, same

PARAMETERS = ("weight", "bias")
NORM = (*PARAMETERS, "running_mean", "running_var")
# Steps that a batch norm counts and nothing reads.
COUNTERS = ("{rest*}.num_batches_tracked",)
# Convolutions of mmsegmentation's heads.
UPER = (
    ("pooled.{i}", "psp_modules.{i}.1"),
    ("top", "bottleneck"),
    ("enter.{i}", "lateral_convs.{i}"),
    ("smooth.{i}", "fpn_convs.{i}"),
    ("fuse", "fpn_bottleneck"),
)
FCN = (("convs.{i}", "convs.{i}"),)


def layer_rules(ours: str, theirs: str) -> list[Rule]:
    """Weight and bias."""
    return [same(f"{ours}.{p}", f"{theirs}.{p}") for p in PARAMETERS]


def pointwise_rules(ours: str, theirs: str) -> list[Rule]:
    """A 1x1 convolution as a linear layer."""
    return [
        derive(f"{ours}.weight", f"{theirs}.weight", lambda t: t.flatten(1)),
        same(f"{ours}.bias", f"{theirs}.bias"),
    ]


def conv_rules(ours: str, conv: str, norm: str) -> list[Rule]:
    """A convolution without bias, and its batch norm."""
    return [same(f"{ours}.conv.weight", f"{conv}.weight")] + [same(f"{ours}.norm.{p}", f"{norm}.{p}") for p in NORM]


def below(ours: str, theirs: str, rules: Iterable[Rule]) -> list[Rule]:
    """Rules of a part, under prefixes that have their dot."""
    return [
        replace(rule, target=ours + rule.target, sources=tuple(theirs + source for source in rule.sources))
        for rule in rules
    ]
