"""D-Former (Wu et al. 2022, "D-Former: a U-shaped dilated transformer for 3D medical image segmentation", arXiv
2201.00462): a pyramid of volumes with attention in local and in dilated groups by turns, and its mirror as a decoder.

    stage    x + dw3x3x3(x), then blocks y = x + attention(LN(x)), y + MLP(LN(y)); local groups first
    encoder  patches 2 x 4 x 4; after each stage 2 x 2 x 2 tokens to one of twice the width
    decoder  a token to 2 x 2 x 2 of half the width, LN; W [x, what the encoder's stage of this size was given]; stage
    heads    on the finest map and on each coarser one before it is joined: a token to its patch of voxels, LN, linear

Shapes: volume (B, channels, D, H, W) -> logits (B, classes, D, H, W), any D, H and W, filled up with zeros at the end
of an axis to whole patches and pairs of tokens.

Decided differently: groups follow the size of each call and nothing is masked, see `core.mixers.dilated_groups`
(`official` there). The release pads heights and widths but not depths to pairs; has 14 classes whatever it is told and
96 channels whatever it is told; and hands out the two finest of its three heads, at the resolution of each, so that the
third learns nothing. Here all heads learn, in training alone, at the size of the volume.
"""

__all__ = ["DFormer", "Enlarge", "VolumeHead", "VolumeStage"]

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.backbones.base import drop_paths, init_linears
from apps.vision.segmentation.models.segmenter import Logits
from core.blocks import Block
from core.channels import MLP
from core.layout import grid_of
from core.mixers import DilatedGroupAttention
from core.positions import ConditionalPosition
from core.resample import PatchEmbed, PatchMap, PatchMerging

PAIR = (2, 2, 2)


class VolumeStage(nn.Module):
    """A convolution that knows the border, then blocks with local and dilated groups by turns.

    Args:
        dim: width of the tokens.
        heads: of the attention.
        group: tokens a group, an axis.
        interval: of dilated groups.
        drop_path: share of left-out branches, one a block.
        mlp_ratio: width of the MLPs' hidden layer over dim.
        official: see `DilatedGroupAttention`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        group: Sequence[int],
        interval: int,
        drop_path: Sequence[float],
        *,
        mlp_ratio: float = 4.0,
        official: bool = False,
    ) -> None:
        super().__init__()
        self.position = ConditionalPosition(dim, (3, 3, 3))
        self.blocks = nn.ModuleList()
        for number, share in enumerate(drop_path):
            step = interval if number % 2 else None
            mixer = DilatedGroupAttention(dim, heads, group, step, official=official)
            self.blocks.append(Block(dim, mixer, MLP(dim, int(dim * mlp_ratio)), drop_path=share))

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W, dim) -> the same."""
        x = self.position(x)
        for block in self.blocks:
            x = block(x)
        return x


class Enlarge(nn.Module):
    """A token to 2 x 2 x 2 of half the width, and their norm.

    Args:
        dim: width of the tokens.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.expand, self.norm = nn.Linear(dim, 4 * dim, bias=False), nn.LayerNorm(dim // 2)

    def forward(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
        """(B, D, H, W, dim) -> (B, *grid, dim / 2), what stands behind the grid being cut off."""
        return self.norm(PatchMap(grid, PAIR).unfold(self.expand(x)))


class VolumeHead(nn.Module):
    """A token to the logits of its patch of voxels.

    Args:
        dim: width of the tokens.
        classes: numbers that are predicted for a voxel.
        patch: voxels a token, an axis.
    """

    def __init__(self, dim: int, classes: int, patch: Sequence[int]) -> None:
        super().__init__()
        self.patch = tuple(patch)
        self.expand, self.norm = nn.Linear(dim, prod(patch) * dim, bias=False), nn.LayerNorm(dim)
        self.out = nn.Linear(dim, classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W, dim) -> (B, classes, patch_d D, patch_h H, patch_w W)."""
        grid = tuple(n * p for n, p in zip(grid_of(x), self.patch, strict=True))
        return self.out(self.norm(PatchMap(grid, self.patch).unfold(self.expand(x)))).movedim(-1, 1)


class DFormer(nn.Module):
    """The whole network; 50.557 M parameters with 14 classes.

    Args:
        classes: numbers that are predicted for a voxel.
        channels: of the volume.
        dim: width of the finest level.
        depths: blocks in each level, of the encoder and of the decoder.
        heads: of the attention in each level.
        group: tokens a group, an axis.
        intervals: of each level's dilated groups.
        patch: voxels a token, an axis.
        drop_path: share of samples whose branch is left out in the last block of the encoder, rising evenly from 0.
        official: see `DilatedGroupAttention`.
    """

    def __init__(
        self,
        classes: int,
        channels: int = 1,
        dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        group: Sequence[int] = (2, 8, 8),
        intervals: Sequence[int] = (8, 4, 2, 1),
        patch: Sequence[int] = (2, 4, 4),
        *,
        drop_path: float = 0.0,
        official: bool = False,
    ) -> None:
        super().__init__()
        if not len(depths) == len(heads) == len(intervals) > 1:
            raise ValueError(
                f"DFormer: depths {tuple(depths)}, heads {tuple(heads)} and intervals {tuple(intervals)}; give one of "
                "each for two levels or more"
            )
        dims = [dim << n for n in range(len(depths))]
        levels = list(zip(dims, heads, intervals, drop_paths(drop_path, depths), strict=True))

        def stages(chosen: Sequence[tuple[int, int, int, list[float]]]) -> nn.ModuleList:
            return nn.ModuleList(VolumeStage(d, h, group, i, s, official=official) for d, h, i, s in chosen)

        self.channels = channels
        self.embed = PatchEmbed(channels, dim, patch, norm=nn.LayerNorm)
        self.merges = nn.ModuleList(PatchMerging(d, 2 * d, PAIR) for d in dims[:-1])
        self.down, self.up = stages(levels), stages(levels[-2::-1])
        self.norm, self.norm_up = nn.LayerNorm(dims[-1]), nn.LayerNorm(dim)
        self.enlarge = nn.ModuleList(Enlarge(d) for d in dims[:0:-1])
        self.join = nn.ModuleList(nn.Linear(2 * d, d) for d in dims[-2::-1])
        self.heads = nn.ModuleList(VolumeHead(d, classes, patch) for d in dims[:-1])
        init_linears(self)

    def forward(self, x: Tensor) -> Logits:
        """(B, channels, D, H, W) -> logits at the size of the volume; those of the coarser heads in training.

        Raises:
            ValueError: for anything else than a volume of so many channels.
        """
        if x.ndim != 5 or x.shape[1] != self.channels:
            raise ValueError(f"DFormer: expected a volume (B, {self.channels}, D, H, W), got {tuple(x.shape)}.")
        maps = self.maps(x.movedim(1, -1))
        grid = tuple(x.shape[2:])
        heads = list(self.heads) if self.training else [self.heads[0]]
        made = []
        for level, (head, tokens) in enumerate(zip(heads, maps, strict=False)):
            y = head(tokens)
            if level:
                y = F.interpolate(y, scale_factor=2**level, mode="trilinear", align_corners=False)
            made.append(y[(..., *(slice(0, length) for length in grid))])
        return Logits(made[0], tuple(made[1:]))

    def maps(self, x: Tensor) -> list[Tensor]:
        """What the heads see of tokens (B, D, H, W, channels), fine to coarse."""
        x = self.embed(x).tokens
        given = []
        for level, stage in enumerate(self.down):
            given.append(x)
            x = stage(x)
            if level < len(self.merges):
                x = self.merges[level](x).tokens
        x = self.norm(x)
        found: list[Tensor] = []
        for number, (enlarge, join, stage) in enumerate(zip(self.enlarge, self.join, self.up, strict=True)):
            skip = given[-2 - number]
            x = enlarge(x, grid_of(skip))
            if number < len(self.up) - 1:
                found.insert(0, x)
            x = stage(join(torch.cat([x, skip], -1)))
        return [self.norm_up(x), *found]
