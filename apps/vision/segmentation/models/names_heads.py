"""mmsegmentation's heads in our names."""

__all__ = ["FCN", "UPER", "head_rules"]

from collections.abc import Iterable

from apps.vision.rules import conv_rules, layer_rules
from core.checkpoint import Rule

# Convolutions, ours and theirs.
UPER = (
    ("pooled.{i}", "psp_modules.{i}.1"),
    ("top", "bottleneck"),
    ("enter.{i}", "lateral_convs.{i}"),
    ("smooth.{i}", "fpn_convs.{i}"),
    ("fuse", "fpn_bottleneck"),
)
FCN = (("convs.{i}", "convs.{i}"),)


def head_rules(pairs: Iterable[tuple[str, str]], ours: str = "", theirs: str = "") -> list[Rule]:
    """Convolutions with their norms, and the last layer."""
    rules = [rule for a, b in pairs for rule in conv_rules(f"{ours}{a}", f"{theirs}{b}.conv", f"{theirs}{b}.bn")]
    return rules + layer_rules(f"{ours}out", f"{theirs}conv_seg")
