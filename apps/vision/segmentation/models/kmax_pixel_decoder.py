"""kMaX-DeepLab's pixel decoder (Yu et al. 2022, "k-means Mask Transformer"): from coarse to fine, a group of blocks on
each level, its result added to the next level's features.

    block       x = gelu(x);   short(x) + drop(N W_3 mix(gelu(N W_1 x)))
    axial       mix = gelu of position-sensitive attention, columns and then rows; widths 2b, b keys, 2b values, 4b
    bottleneck  mix = gelu(N 3x3); widths b, b, 4b
    fuse        N W gelu(coarse), resized, + N W gelu(fine), each projected only where its width is another

Features come through a LayerNorm. As published for COCO: groups of 1, 5, 1, 1 blocks with b = 512, 256, 128, 64, the
first two axial. Results, 4b wide, of the first three levels go to the transformer, that of the last one is what masks
are predicted on.

Shapes: features (B, h_i, w_i, C_i), coarse to fine -> (B, h_i, w_i, 4 b_i).

Decided: maps of any size (the release is built for one size of images and fails on others). With a mask, padding is
neither attended to nor convolved nor counted by norms; at its edge resizing mixes it in as 0.
"""

__all__ = ["AxialBlock", "BottleneckBlock", "Fuse", "PixelDecoder"]

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.segmentation.models.kmax_layers import ConvNorm, odd, resized
from core.blocks import DropPath
from core.layout import zero_padding
from core.mixers import PositionSensitiveAttention


class AxialBlock(nn.Module):
    """Attention along columns, then along rows, in a residual branch.

    Args:
        dim: width of x.
        base: a quarter of the result's width.
        heads: number of heads.
        drop_path: share of samples whose branch is left out in training.
    """

    def __init__(self, dim: int, base: int, heads: int = 8, drop_path: float = 0.0) -> None:
        super().__init__()
        self.short = ConvNorm(dim, 4 * base) if dim != 4 * base else None
        self.enter = ConvNorm(dim, 2 * base, act=True)
        widths = {"key_dim": base, "value_dim": 2 * base}
        self.columns = PositionSensitiveAttention(2 * base, heads, 0, **widths)
        self.rows = PositionSensitiveAttention(2 * base, heads, 1, **widths)
        self.leave = ConvNorm(2 * base, 4 * base, gain=0.0)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, H, W, dim), mask (B, H, W) -> (B, H, W, 4 base)."""
        x = F.gelu(x)
        short = x if self.short is None else self.short(x, mask)
        y = self.rows(self.columns(self.enter(x, mask), mask=mask), mask=mask)
        return self.drop_path(self.leave(F.gelu(y), mask)) + short


class BottleneckBlock(nn.Module):
    """A 3 x 3 convolution between a narrowing and a widening, in a residual branch.

    Args:
        dim: width of x.
        base: a quarter of the result's width.
        drop_path: share of samples whose branch is left out in training.
    """

    def __init__(self, dim: int, base: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.short = ConvNorm(dim, 4 * base) if dim != 4 * base else None
        self.enter = ConvNorm(dim, base, act=True)
        self.middle = ConvNorm(base, base, 3, act=True)
        self.leave = ConvNorm(base, 4 * base, gain=0.0)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, H, W, dim), mask (B, H, W) -> (B, H, W, 4 base)."""
        x = F.gelu(x)
        short = x if self.short is None else self.short(x, mask)
        y = self.leave(self.middle(self.enter(x, mask), mask), mask)
        return self.drop_path(y) + short


class Fuse(nn.Module):
    """The coarse level on the fine one.

    Args:
        coarse, fine, dim: widths of the two and of the sum.
    """

    def __init__(self, coarse: int, fine: int, dim: int) -> None:
        super().__init__()
        self.coarse = ConvNorm(coarse, dim) if coarse != dim else None
        self.fine = ConvNorm(fine, dim) if fine != dim else None

    def forward(
        self, coarse: Tensor, fine: Tensor, coarse_mask: Tensor | None = None, fine_mask: Tensor | None = None
    ) -> Tensor:
        """(B, h, w, coarse) and (B, H, W, fine), with their masks -> (B, H, W, dim)."""
        corners = odd(coarse.shape[2])
        if self.coarse is not None:
            coarse = self.coarse(F.gelu(coarse), coarse_mask)
        coarse = zero_padding(coarse, coarse_mask)
        if self.fine is not None:
            fine = self.fine(F.gelu(fine), fine_mask)
        return resized(coarse, (fine.shape[1], fine.shape[2]), corners) + fine


class PixelDecoder(nn.Module):
    """Features of a backbone, coarse to fine, to as many maps.

    Args:
        channels: of the features, coarse to fine.
        depths: blocks of each level; where there are fewer levels, the first ones.
        dims: a quarter of the width of each level's result.
        axial: levels with axial blocks, 0 being the coarsest.
        heads: of attention.
        drop_path: share of samples whose branches are left out in training.

    Attributes:
        widths: of the results, coarse to fine.

    Raises:
        ValueError: more levels than depths and dims.
    """

    def __init__(
        self,
        channels: Sequence[int],
        depths: Sequence[int] = (1, 5, 1, 1),
        dims: Sequence[int] = (512, 256, 128, 64),
        axial: Sequence[int] = (0, 1),
        heads: int = 8,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if min(len(depths), len(dims)) < len(channels):
            raise ValueError(
                f"PixelDecoder: {len(channels)} levels of features, {len(depths)} depths, {len(dims)} dims; give as "
                "many as there are levels"
            )
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-6) for width in channels)
        self.fuses = nn.ModuleList()
        self.stages = nn.ModuleList()
        before = channels[0]
        for level, (width, depth, base) in enumerate(zip(channels, depths, dims, strict=False)):
            if level:
                self.fuses.append(Fuse(before, width, base))
                before = base
            blocks = nn.ModuleList()
            for _ in range(depth):
                if level in axial:
                    blocks.append(AxialBlock(before, base, heads, drop_path))
                else:
                    blocks.append(BottleneckBlock(before, base, drop_path))
                before = 4 * base
            self.stages.append(blocks)
        self.widths = [4 * base if depth else base for depth, base in zip(depths, dims, strict=False)][: len(channels)]

    def forward(self, features: Sequence[Tensor], masks: Sequence[Tensor | None] | None = None) -> list[Tensor]:
        """Coarse to fine.

        Args:
            features: (B, h, w, C) each.
            masks: (B, h, w) boolean each, True = real.
        """
        real = [None] * len(features) if masks is None else list(masks)
        results: list[Tensor] = []
        for level, (feature, norm, blocks) in enumerate(zip(features, self.norms, self.stages, strict=True)):
            x = norm(feature)
            if level:
                x = self.fuses[level - 1](results[-1], x, real[level - 1], real[level])
            for block in blocks:  # type: ignore[union-attr]
                x = block(x, real[level])
            results.append(x)
        return results
