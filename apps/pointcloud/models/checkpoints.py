"""Weights of OpenPCDet's detectors into the parts here.

    load_openpcdet({"vfe": vfe, "backbone_3d": backbone, "backbone_2d": bev}, "second_7862.pth")

The keys are what the release calls a detector's parts. Files are read without executing what may be pickled in them;
weights of spconv 1 and 2 are both understood. What does not fit is said in one sentence.
"""

__all__ = ["PARTS", "load_openpcdet", "rules_of"]

from collections.abc import Callable
from collections.abc import Mapping as Parts
from pathlib import Path
from typing import Any

from torch import nn

from apps.pointcloud.models.bev import BEVBackbone, CascadeDED, ResidualLevel
from apps.pointcloud.models.encoders import DynamicVFE, MeanVFE, PillarVFE
from apps.pointcloud.models.names_openpcdet import (
    REBUILT,
    backbone_rules,
    ded_rules,
    plain_bev_rules,
    residual_bev_rules,
    vfe_rules,
)
from apps.pointcloud.models.sparse_backbones import VoxelBackbone8x, VoxelResBackbone8x
from core.checkpoint import Mapping, Rule, load, read
from core.errors import UserError


def _bev_rules(module: BEVBackbone, ours: str, theirs: str) -> list[Rule]:
    if isinstance(module.levels[0], ResidualLevel):
        return residual_bev_rules(ours, theirs)
    return plain_bev_rules(ours, theirs, [len(level) - 1 for level in module.levels])  # type: ignore[arg-type]


# The official names of a part, by its class: rules from a prefix of theirs to one of ours.
PARTS: dict[type, Callable[[Any, str, str], list[Rule]]] = {
    MeanVFE: lambda module, ours, theirs: [],
    DynamicVFE: lambda module, ours, theirs: vfe_rules(ours, f"{theirs}pfn_layers."),
    PillarVFE: lambda module, ours, theirs: vfe_rules(ours, f"{theirs}pfn_layers."),
    VoxelBackbone8x: lambda module, ours, theirs: backbone_rules(ours, theirs),
    VoxelResBackbone8x: lambda module, ours, theirs: backbone_rules(ours, theirs),
    BEVBackbone: _bev_rules,
    CascadeDED: lambda module, ours, theirs: ded_rules(ours, theirs),
}


def rules_of(module: nn.Module, ours: str = "", theirs: str = "") -> list[Rule]:
    """From OpenPCDet's names of a part, behind a prefix, to ours.

    Raises:
        UserError: a class that OpenPCDet does not have.
    """
    if type(module) not in PARTS:
        known = ", ".join(sorted(cls.__name__ for cls in PARTS))
        raise UserError(f"{type(module).__name__}: no release of it is known; weights can be loaded into {known}.")
    return PARTS[type(module)](module, ours, theirs)


def load_openpcdet(parts: Parts[str, nn.Module], path: str | Path) -> None:
    """Fills parts in place from one checkpoint; what it holds of other parts is left.

    Args:
        parts: the release's name of each part (vfe, backbone_3d, backbone_2d) and ours.
        path: a file of OpenPCDet.

    Raises:
        UserError: unreadable, or of other sizes or classes.
    """
    official = read(path)
    for name, module in parts.items():
        own = {key: tensor for key, tensor in official.items() if key.startswith(f"{name}.")}
        mapping = Mapping(*rules_of(module, "", f"{name}."), ignore=REBUILT)
        load(module, own, mapping, f"checkpoint {Path(path).name}, part {name},")
