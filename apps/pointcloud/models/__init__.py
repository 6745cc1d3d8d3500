"""Detectors and their parts: points in voxels, features of voxels, backbones, heads; no Lightning.

detector          what whole detectors share; center_detectors and anchor_detectors have them
voxelise          points into voxels
encoders          features of voxels
layers            norms and blocks that the backbones share
sparse_backbones  3-D backbones of SECOND and CenterPoint
scatterformer     ScatterFormer's backbone
flatformer        FlatFormer's encoder
bev               2-D backbones of the bird's-eye view
center_head       the head of CenterPoint; targets, losses, decode belong to it
anchor_head       the head of SECOND and PointPillars
checkpoints       weights of the releases
"""

__all__ = [
    "AddingLevel",
    "AnchorClass",
    "AnchorHead",
    "BEVBackbone",
    "CascadeDED",
    "CenterDecoder",
    "CenterHead",
    "CenterPointPillar",
    "CenterPointVoxel",
    "Detections",
    "Detector",
    "DynamicVFE",
    "FlatFormer",
    "FlatFormerDetector",
    "HardVoxels",
    "MeanVFE",
    "PillarVFE",
    "PlainLevel",
    "PointPillars",
    "PointVoxels",
    "ResidualLevel",
    "ScatterFormer",
    "ScatterFormerDetector",
    "Second",
    "VoxelBackbone8x",
    "VoxelGrid",
    "VoxelResBackbone8x",
    "hard_voxels",
    "height_to_channels",
    "load_openpcdet",
    "voxelise",
]

from apps.pointcloud.models.anchor_detectors import PointPillars, Second
from apps.pointcloud.models.anchor_head import AnchorClass, AnchorHead
from apps.pointcloud.models.bev import AddingLevel, BEVBackbone, CascadeDED, PlainLevel, ResidualLevel
from apps.pointcloud.models.center_detectors import (
    CenterPointPillar,
    CenterPointVoxel,
    FlatFormerDetector,
    ScatterFormerDetector,
)
from apps.pointcloud.models.center_head import CenterHead
from apps.pointcloud.models.checkpoints import load_openpcdet
from apps.pointcloud.models.decode import CenterDecoder, Detections
from apps.pointcloud.models.detector import Detector
from apps.pointcloud.models.encoders import DynamicVFE, MeanVFE, PillarVFE
from apps.pointcloud.models.flatformer import FlatFormer
from apps.pointcloud.models.scatterformer import ScatterFormer
from apps.pointcloud.models.sparse_backbones import VoxelBackbone8x, VoxelResBackbone8x, height_to_channels
from apps.pointcloud.models.voxelise import HardVoxels, PointVoxels, VoxelGrid, hard_voxels, voxelise
