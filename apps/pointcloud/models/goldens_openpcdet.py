"""Encoders and backbones under the names and calling conventions of their releases, for `omnimix verify`.

openpcdet    voxel feature encoders, sparse 3-D backbones, bird's-eye-view backbones
flatformer   its voxel feature encoder, SECOND with SECONDFPN
"""

__all__ = ["FLATFORMER", "OPENPCDET"]

from typing import Any

import torch
from torch import Tensor, nn

from apps.pointcloud.models.bev import AddingLevel, BEVBackbone, CascadeDED, PlainLevel, ResidualLevel
from apps.pointcloud.models.encoders import DynamicVFE, MeanVFE, PillarVFE
from apps.pointcloud.models.names_openpcdet import (
    REBUILT,
    backbone_rules,
    ded_rules,
    mmdet_bev_rules,
    plain_bev_rules,
    residual_bev_rules,
    vfe_rules,
)
from apps.pointcloud.models.sparse_backbones import VoxelBackbone8x, VoxelResBackbone8x
from apps.pointcloud.models.voxelise import HardVoxels, VoxelGrid, voxelise
from core.checkpoint import Mapping
from core.layout import Ragged
from core.sparse import Sites, SparseTensor
from core.verify import Facts, Golden

# More than any height: the pillar encoder of OpenPCDet does not look at z.
_ANY_HEIGHT = 1000


def _grid(facts: Facts, any_height: bool = False) -> VoxelGrid:
    size, limits = list(facts.config["voxel_size"]), list(facts.config["point_cloud_range"])
    if any_height:
        limits[2], limits[5], size[2] = limits[2] - _ANY_HEIGHT, limits[5] + _ANY_HEIGHT, size[2] + 2 * _ANY_HEIGHT
    return VoxelGrid(tuple(limits[:3]), tuple(limits[3:]), tuple(size))  # type: ignore[arg-type]


def _widths(facts: Facts) -> list[int]:
    *inner, last = facts.config["NUM_FILTERS"]
    return [width // 2 for width in inner] + [last]


def _encoder(facts: Facts, cls: type[DynamicVFE], any_height: bool = False, **arguments: bool) -> DynamicVFE:
    return cls(
        _grid(facts, any_height),
        facts.get("num_point_features", 4),
        _widths(facts),
        absolute=facts.get("USE_ABSLOTE_XYZ", True),
        distance=facts.get("WITH_DISTANCE", False),
        **arguments,
    )


def _samples(points: Tensor, samples: Tensor) -> Ragged:
    """Points in any order as one segment a sample."""
    samples, order = samples.long().sort(stable=True)
    return Ragged(points[order], torch.cat([samples.new_zeros(1), samples.bincount().cumsum(0)]))


def call_points(run: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rows (sample, x, y, z, ...) in; voxels sorted by (sample, x, y, z) out."""
    points = inputs["points"]
    y = run(voxelise(_samples(points[:, 1:], points[:, 0].detach()), run.module.grid))
    coords = y.coords
    x_first = coords[:, [0, 3, 2, 1]]
    order = Sites.of(x_first, [int(n) + 1 for n in x_first[:, 1:].amax(0)], y.batch_size).order
    order = torch.arange(len(coords)) if order is None else order
    return {"features": y.features[order], "coords": coords[order]}


def call_located_points(run: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Points and the sample each belongs to."""
    y = run(voxelise(_samples(inputs["points"], inputs["coords"][:, 0]), run.module.grid))
    return {"features": y.features, "coords": y.coords}


def call_padded(run: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Padded voxels, their numbers of points and their places, rows in any order and places perhaps twice."""
    # Each row as a sample of its own, so that rows stay as they are.
    coords = inputs["coords"].long()
    coords[:, 0] = torch.arange(len(coords))
    sites = Sites.of(coords, [int(n) + 1 for n in coords[:, 1:].amax(0)], len(coords))
    return run(HardVoxels(inputs["voxels"], inputs["num"].long(), sites, torch.zeros(()))).features


class _Sparse(nn.Module):
    """A backbone on a grid that the release is told in its constructor."""

    def __init__(self, backbone: nn.Module, facts: Facts) -> None:
        super().__init__()
        self.backbone = backbone
        self.grid, self.batch_size = facts.config["grid_size"][::-1], facts.config["batch_size"]

    def forward(self, x: Tensor, coords: Tensor) -> dict[str, Tensor]:
        y = self.backbone(SparseTensor.of(x, coords, self.grid, self.batch_size))
        return {"features": y.features, "coords": y.coords}


def call_map(run: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Maps (B, C, Y, X) in and out."""
    (x,) = inputs.values()
    return run(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _bev(facts: Facts, level: type[nn.Module]) -> BEVBackbone:
    entry = "blocks.0.0.conv1.weight" if level is ResidualLevel else "blocks.0.1.weight"
    return BEVBackbone(
        facts.weights[entry][1],
        facts.config["NUM_FILTERS"],
        facts.config["LAYER_NUMS"],
        facts.config["LAYER_STRIDES"],
        facts.config["NUM_UPSAMPLE_FILTERS"],
        facts.config["UPSAMPLE_STRIDES"],
        level,
    )


def _ded(facts: Facts) -> CascadeDED:
    return CascadeDED(
        facts.weights["layers.0.encoder.0.0.conv1.weight"][1],
        facts.config["FEATURE_DIM"],
        facts.config["NUM_LAYERS"],
        facts.config["NUM_SBB"],
        facts.config["DOWN_STRIDES"],
    )


_POINT_NETWORK = Mapping(*vfe_rules("", "pfn_layers."), ignore=REBUILT)
_BACKBONE = Mapping(*backbone_rules("backbone.", ""), ignore=REBUILT)

OPENPCDET = {
    "MeanVFE": Golden(lambda facts: MeanVFE(facts.get("num_point_features", 4)), call=call_padded),
    "PillarVFE": Golden(lambda facts: _encoder(facts, PillarVFE, official=True), _POINT_NETWORK, call_padded),
    "DynamicPillarVFE": Golden(lambda facts: _encoder(facts, DynamicVFE, True), _POINT_NETWORK, call_points),
    "DynamicVoxelVFE": Golden(lambda facts: _encoder(facts, DynamicVFE), _POINT_NETWORK, call_points),
    "VoxelBackBone8x": Golden(lambda facts: _Sparse(VoxelBackbone8x(facts.config["input_channels"]), facts), _BACKBONE),
    "VoxelResBackBone8x": Golden(
        lambda facts: _Sparse(VoxelResBackbone8x(facts.config["input_channels"]), facts), _BACKBONE
    ),
    "BaseBEVBackbone": Golden(
        lambda facts: _bev(facts, PlainLevel),
        lambda facts: Mapping(*plain_bev_rules("", "", facts.config["LAYER_NUMS"]), ignore=REBUILT),
        call_map,
    ),
    "BaseBEVResBackbone": Golden(
        lambda facts: _bev(facts, ResidualLevel), Mapping(*residual_bev_rules("", ""), ignore=REBUILT), call_map
    ),
    "CascadeDEDBackbone": Golden(_ded, Mapping(*ded_rules("", ""), ignore=REBUILT), call_map),
}

FLATFORMER = {
    "DynamicVFE": Golden(
        lambda facts: DynamicVFE(
            _grid(facts),
            facts.config["in_channels"],
            facts.config["feat_channels"],
            distance=facts.get("with_distance", False),
        ),
        Mapping(*vfe_rules("", "vfe_layers."), ignore=REBUILT),
        call_located_points,
    ),
    "SECOND+SECONDFPN": Golden(
        lambda facts: BEVBackbone(
            facts.config["in_channels"],
            facts.config["out_channels"],
            facts.config["layer_nums"],
            facts.config["layer_strides"],
            facts.config["fpn_out_channels"],
            facts.config["upsample_strides"],
            AddingLevel if facts.get("residual", True) else PlainLevel,
        ),
        Mapping(*mmdet_bev_rules("", "backbone.", "neck."), ignore=REBUILT),
        call_map,
    ),
}
