"""Names of OpenPCDet (and of the parts that mmdet3d's FlatFormer shares with it), and ours.

Rules go from a prefix of theirs to a prefix of ours. Weights of sparse convolutions from spconv 1, in which the
published KITTI models are stored, are laid out (*kernel, in, out); those of spconv 2 are laid out as ours.
"""

__all__ = [
    "REBUILT",
    "backbone_rules",
    "ded_rules",
    "mmdet_bev_rules",
    "plain_bev_rules",
    "residual_bev_rules",
    "sparse_block_rules",
    "vfe_rules",
]

from collections.abc import Sequence

from torch import Tensor

from core.checkpoint import Rule, derive, same

# Step counters, and where voxels lie.
REBUILT = ("global_step", "{any*}.num_batches_tracked")
# Published kernels are no longer than this, and widths are greater.
_LONGEST_KERNEL = 3


def sparse_kernel(weight: Tensor) -> Tensor:
    """A kernel of either layout as (out, *kernel, in)."""
    return weight.movedim(-1, 0) if weight.shape[0] <= _LONGEST_KERNEL else weight


def vfe_rules(ours: str, theirs: str) -> list[Rule]:
    """Point networks; theirs ends in `pfn_layers.` or `vfe_layers.`."""
    return [
        same(f"{ours}linears.{{i}}.weight", f"{theirs}{{i}}.linear.weight"),
        same(f"{ours}norms.{{i}}.{{p}}", f"{theirs}{{i}}.norm.{{p}}"),
    ]


def _conv_norm_rules(ours: str, theirs: str) -> list[Rule]:
    return [
        derive(f"{ours}conv.weight", f"{theirs}0.weight", sparse_kernel),
        same(f"{ours}norm.{{p}}", f"{theirs}1.{{p}}"),
    ]


def sparse_block_rules(ours: str, theirs: str) -> list[Rule]:
    """A sparse residual block."""
    rules = []
    for number in (0, 1):
        rules += [
            derive(f"{ours}convs.{number}.weight", f"{theirs}conv{number + 1}.weight", sparse_kernel),
            same(f"{ours}convs.{number}.bias", f"{theirs}conv{number + 1}.bias"),
            same(f"{ours}norms.{number}.{{p}}", f"{theirs}bn{number + 1}.{{p}}"),
        ]
    return rules


def backbone_rules(ours: str, theirs: str) -> list[Rule]:
    """VoxelBackBone8x and VoxelResBackBone8x."""
    rules = _conv_norm_rules(f"{ours}enter.", f"{theirs}conv_input.")
    for level in range(4):
        mine, official = f"{ours}stages.{level}.{{i}}.", f"{theirs}conv{level + 1}.{{i}}."
        rules += _conv_norm_rules(mine, official) + sparse_block_rules(mine, official)
    return rules + _conv_norm_rules(f"{ours}leave.", f"{theirs}conv_out.")


def plain_bev_rules(ours: str, theirs: str, depths: Sequence[int]) -> list[Rule]:
    """BaseBEVBackbone, whose levels count a padding, convolutions, norms and ReLUs in one row."""
    rules = _up_rules(ours, theirs)
    for level, depth in enumerate(depths):
        for layer in range(depth + 1):
            mine, official = f"{ours}levels.{level}.{layer}.", f"{theirs}blocks.{level}."
            rules.append(same(f"{mine}0.weight", f"{official}{3 * layer + 1}.weight"))
            rules.append(same(f"{mine}1.{{p}}", f"{official}{3 * layer + 2}.{{p}}"))
    return rules


def residual_bev_rules(ours: str, theirs: str) -> list[Rule]:
    """BaseBEVResBackbone."""
    return [*_up_rules(ours, theirs), *_block_rules(f"{ours}levels.{{l}}.{{i}}.", f"{theirs}blocks.{{l}}.{{i}}.")]


def mmdet_bev_rules(ours: str, backbone: str, neck: str) -> list[Rule]:
    """SECOND and SECONDFPN of mmdet3d."""
    return [
        same(f"{ours}levels.{{l}}.{{i}}.{{j}}.{{p}}", f"{backbone}blocks.{{l}}.{{i}}.{{j}}.{{p}}"),
        *_up_rules(ours, neck),
    ]


def ded_rules(ours: str, theirs: str) -> list[Rule]:
    """CascadeDEDBackbone."""
    mine, official = f"{ours}layers.{{l}}.", f"{theirs}layers.{{l}}."
    return [
        *_block_rules(f"{mine}encoder.{{i}}.{{j}}.", f"{official}encoder.{{i}}.{{j}}."),
        same(f"{mine}decoder.{{i}}.{{j}}.{{p}}", f"{official}decoder.{{i}}.{{j}}.{{p}}"),
        same(f"{mine}norms.{{i}}.{{p}}", f"{official}decoder_norm.{{i}}.{{p}}"),
    ]


def _up_rules(ours: str, theirs: str) -> list[Rule]:
    return [same(f"{ours}ups.{{l}}.{{j}}.{{p}}", f"{theirs}deblocks.{{l}}.{{j}}.{{p}}")]


def _block_rules(ours: str, theirs: str) -> list[Rule]:
    return [
        same(f"{ours}first.0.weight", f"{theirs}conv1.weight"),
        same(f"{ours}first.1.{{p}}", f"{theirs}bn1.{{p}}"),
        same(f"{ours}conv.weight", f"{theirs}conv2.weight"),
        same(f"{ours}norm.{{p}}", f"{theirs}bn2.{{p}}"),
        same(f"{ours}shortcut.{{s}}.{{p}}", f"{theirs}downsample_layer.{{s}}.{{p}}"),
    ]
