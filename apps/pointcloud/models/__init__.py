"""Parts of detectors: points in voxels, features of voxels, sparse and bird's-eye-view backbones; no Lightning.

voxelise          points into voxels
encoders          features of voxels
layers            norms and blocks that the backbones share
sparse_backbones  3-D backbones of SECOND and CenterPoint
bev               2-D backbones of the bird's-eye view
checkpoints       weights of the releases
"""

__all__ = [
    "AddingLevel",
    "BEVBackbone",
    "CascadeDED",
    "DynamicVFE",
    "HardVoxels",
    "MeanVFE",
    "PillarVFE",
    "PlainLevel",
    "PointVoxels",
    "ResidualLevel",
    "VoxelBackbone8x",
    "VoxelGrid",
    "VoxelResBackbone8x",
    "hard_voxels",
    "height_to_channels",
    "load_openpcdet",
    "voxelise",
]

from apps.pointcloud.models.bev import AddingLevel, BEVBackbone, CascadeDED, PlainLevel, ResidualLevel
from apps.pointcloud.models.checkpoints import load_openpcdet
from apps.pointcloud.models.encoders import DynamicVFE, MeanVFE, PillarVFE
from apps.pointcloud.models.sparse_backbones import VoxelBackbone8x, VoxelResBackbone8x, height_to_channels
from apps.pointcloud.models.voxelise import HardVoxels, PointVoxels, VoxelGrid, hard_voxels, voxelise
