"""InterFormer's neck, which runs again for every click (Huang et al. 2023, "InterFormer: real-time interactive image
segmentation", ICCV, arXiv 2304.02942), interactive multi-scale attention:

    x = f_1 + mean of e[label] over what a token stands for
    level   blocks, the first with keys of f_i, the others with keys of x itself
            handed out: GroupNorm(further blocks, inside a box only if there is one)
            handed on: x merged to half its size
    block   y = x + attention(GN(x), GN'(keys)),   y + MLP(GN(y)),   attention of `core.mixers.PooledAttention`
    MLP     1x1, Hardswish, dw3x3, Hardswish, 1x1
    merging LN of 3 x 3 tokens around every other one, linear

Labels are those of `apps.vision.segmentation.clicks`: 0 surely and 1 perhaps background, 2 unknown, 3 perhaps and 4
surely object.

Shapes: features (B, h_i, w_i, C_i), labels (B, 4 h_1, 4 w_1) -> maps like the features.

Decided: labels are looked up where the maps are small. Four times four pixels that are embedded and resized bilinearly
are the mean of the middle two by two, which is what is embedded here. Boxes are refined sample by sample, those of one
size together; the release does this for one sample alone, its batches misplace boxes of different sizes.
"""

__all__ = ["ClickNeck", "NeckBlock", "OverlapMerging", "refine_inside", "share_of_labels"]

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.backbones.base import drop_paths
from core.blocks import DropPath
from core.channels import ConvMLP
from core.mixers import PooledAttention
from core.norms import MapNorm

LABELS = 5


class _Bottleneck(ConvMLP):
    """A convolution between two layers, activations on both sides of it."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(dim, hidden, activation=nn.Hardswish)
        self.enter = nn.Sequential(self.enter, nn.Hardswish())  # type: ignore[assignment]


class NeckBlock(nn.Module):
    """Attention to a pooled map, MLP with a convolution.

    Args:
        dim: width of the tokens.
        heads: of the attention.
        ratios: of the pooled maps.
        extent: sizes of the maps that the ratios are meant for.
        mlp_ratio: width of the MLP's hidden layer over dim.
        drop_path: share of samples whose branches are left out.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        ratios: Sequence[int],
        extent: tuple[int, int],
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm, self.norm_keys, self.norm_feed = MapNorm(dim), MapNorm(dim), MapNorm(dim)
        self.attention = PooledAttention(dim, heads, ratios, extent=extent)
        self.feed, self.drop_path = _Bottleneck(dim, int(dim * mlp_ratio)), DropPath(drop_path)

    def forward(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """(B, H, W, dim), keys (B, h, w, dim) or those of x -> (B, H, W, dim)."""
        keys = x if keys is None else keys
        x = x + self.drop_path(self.attention.among(self.norm(x), self.norm_keys(keys)))
        return x + self.drop_path(self.feed(self.norm_feed(x)))


class OverlapMerging(nn.Module):
    """LN of the 3 x 3 tokens around every other one, zeros beyond the border; linear. ceil(size / 2) tokens an axis.

    Args:
        dim: width of the tokens.
        out_dim: width of the result.
    """

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(9 * dim), nn.Linear(9 * dim, out_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, dim) -> (B, ceil(H / 2), ceil(W / 2), out_dim)."""
        size = [-(-n // 2) for n in x.shape[1:3]]
        rows = F.unfold(x.movedim(-1, 1), 3, padding=1, stride=2).mT
        return self.reduction(self.norm(rows)).unflatten(1, size)


def refine_inside(x: Tensor, blocks: Sequence[nn.Module], boxes: Tensor | None) -> Tensor:
    """Blocks on a part of each map alone.

    Args:
        x: (B, H, W, C).
        blocks: maps to maps.
        boxes: (B, 4) whole numbers left, top, right, bottom (the last two outside) in tokens; all of it if None.
    """

    def run(y: Tensor) -> Tensor:
        for block in blocks:
            y = block(y)
        return y

    if boxes is None or not len(blocks):
        return run(x)
    places: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for sample, (left, top, right, bottom) in enumerate(boxes.tolist()):
        if not (0 <= left < right <= x.shape[2] and 0 <= top < bottom <= x.shape[1]):
            raise ValueError(
                f"refine_inside: box {[left, top, right, bottom]} on a map of {x.shape[1]} x {x.shape[2]} tokens; give "
                "left < right and top < bottom inside it"
            )
        places.setdefault((bottom - top, right - left), []).append((sample, top, left))
    y = x.clone()
    for (height, width), found in places.items():
        parts = torch.stack([x[n, a : a + height, b : b + width] for n, a, b in found])
        for part, (n, a, b) in zip(run(parts), found, strict=True):
            y[n, a : a + height, b : b + width] = part
    return y


def share_of_labels(labels: Tensor, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """How much of each label a bilinear resizing to `size` gives a token: (B, H, W) -> (B, *size, 5)."""
    if labels.shape[1:] == (4 * size[0], 4 * size[1]):
        middle = torch.stack([labels[:, a::4, b::4] for a in (1, 2) for b in (1, 2)], -1)
        return F.one_hot(middle.long(), LABELS).to(dtype).mean(-2)
    shares = F.one_hot(labels.long(), LABELS).to(dtype).movedim(-1, 1)
    return F.interpolate(shares, size, mode="bilinear", align_corners=False).movedim(1, -1)


class ClickNeck(nn.Module):
    """The whole neck.

    Args:
        channels: widths of the features, fine to coarse.
        heads: of the attention in each level.
        depths: blocks in each level.
        refine_start: how many of these work on the whole map; the others can be kept inside a box.
        mlp_ratio: of each level.
        ratios: of the pooled maps in each level.
        extent: size of the images that the ratios are meant for, in pixels.
        drop_path: share of samples whose branch is left out in the last block, rising evenly from 0.
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 128, 256),
        heads: Sequence[int] = (1, 2, 4, 8),
        depths: Sequence[int] = (1, 1, 2, 1),
        refine_start: Sequence[int] = (1, 1, 2, 1),
        mlp_ratio: Sequence[float] = (8, 8, 4, 4),
        ratios: Sequence[Sequence[int]] = ((12, 16, 20, 24), (6, 8, 10, 12), (3, 4, 5, 6), (1, 2, 3, 4)),
        extent: tuple[int, int] = (512, 512),
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        counts = {len(given) for given in (channels, heads, depths, refine_start, mlp_ratio, ratios)}
        if len(counts) > 1:
            raise ValueError(f"ClickNeck: arguments for {sorted(counts)} levels; give one of each for every level")
        self.start = tuple(refine_start)
        self.embed = nn.Parameter(nn.init.xavier_normal_(torch.empty(LABELS, channels[0])))
        self.levels, self.merges = nn.ModuleList(), nn.ModuleList()
        for level, shares in enumerate(drop_paths(drop_path, depths)):
            own = (extent[0] >> (level + 2), extent[1] >> (level + 2))
            sizes = channels[level], heads[level], ratios[level], own, mlp_ratio[level]
            self.levels.append(nn.ModuleList(NeckBlock(*sizes, drop_path=share) for share in shares))
        self.merges.extend(OverlapMerging(dim, following) for dim, following in pairwise(channels))
        self.norms = nn.ModuleList(MapNorm(dim) for dim in channels)

    def forward(self, features: Sequence[Tensor], labels: Tensor, boxes: Tensor | None = None) -> list[Tensor]:
        """Features of the image and labels of the clicks -> maps for the head.

        Args:
            features: (B, h, w, C), fine to coarse, of strides 4, 8, 16, 32.
            labels: (B, H, W), 0 to 4.
            boxes: (B, 4) left, top, right, bottom in pixels, multiples of the coarsest stride.

        Raises:
            ValueError: for boxes that do not fit the coarsest map.
        """
        size = (features[0].shape[1], features[0].shape[2])
        x = features[0] + share_of_labels(labels, size, features[0].dtype) @ self.embed
        outs = []
        for level, (blocks, norm) in enumerate(zip(self.levels, self.norms, strict=True)):
            start = self.start[level]
            for number, block in enumerate(blocks[:start]):  # type: ignore[index]
                x = block(x) if number else block(x, features[level])
            own = None if boxes is None else _scaled(boxes, 4 << level)
            outs.append(norm(refine_inside(x, blocks[start:], own)))  # type: ignore[index]
            if level < len(self.merges):
                x = self.merges[level](x)
        return outs


def _scaled(boxes: Tensor, stride: int) -> Tensor:
    if bool((boxes % stride).any()):
        raise ValueError(f"ClickNeck: boxes {boxes.tolist()}; give multiples of {stride}, the stride of a map")
    return boxes // stride
