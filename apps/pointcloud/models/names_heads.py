"""Names of OpenPCDet's heads, and ours."""

__all__ = ["BRANCHES", "anchor_rules", "center_rules"]

from torch import Tensor

from core.checkpoint import Rule, derive, same

BRANCHES = {
    "heat": "hm",
    "offset": "center",
    "height": "center_z",
    "size": "dim",
    "turn": "rot",
    "velocity": "vel",
    "iou": "iou",
}
"""Our names of a centre head's maps, and OpenPCDet's."""


def center_rules(ours: str, theirs: str) -> list[Rule]:
    """CenterHead."""
    rules = [same(f"{ours}shared.{{p*}}", f"{theirs}shared_conv.{{p*}}")]
    for mine, official in BRANCHES.items():
        rules.append(same(f"{ours}heads.{{h}}.{mine}.{{p*}}", f"{theirs}heads_list.{{h}}.{official}.{{p*}}"))
    return rules


def anchor_rules(ours: str, theirs: str) -> list[Rule]:
    """AnchorHeadSingle, whose 1 x 1 convolutions are linear maps of tokens."""
    rules = []
    for mine, official in {"scores": "conv_cls", "codes": "conv_box", "directions": "conv_dir_cls"}.items():
        rules.append(derive(f"{ours}{mine}.weight", f"{theirs}{official}.weight", _linear))
        rules.append(same(f"{ours}{mine}.bias", f"{theirs}{official}.bias"))
    return rules


def _linear(weight: Tensor) -> Tensor:
    return weight.flatten(1)
