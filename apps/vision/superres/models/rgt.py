"""RGT, recursive generalization transformer (Chen et al. 2024).

    body     LN, groups of [blocks, conv] + their input, LN;   even blocks attend in rectangles, odd to a few coarse
             tokens of the whole map (`core.mixers.RectangleAttention`, `core.mixers.RecursiveGeneralization`)
    block    y = x + mixer(LN x),  z = y + feed(LN y),  z + gamma x

In even groups every second local block from the second on is shifted, in odd groups every second from the first on, by
half a rectangle.

Decided: `official=True` by default, because the release fills up maps with zeros that attend, and the published
results were computed so; False leaves rectangles partial at the border. Nothing depends on the size of training
images, for which the release keeps masks in its checkpoints, and small or elongated images, on which it fails, work.
"""

__all__ = ["RGT", "rgt", "rgt_small"]

from collections.abc import Callable, Sequence

import torch
from torch import nn

from apps.vision.superres.models.rgt_layers import RGTBlock, RGTGroup, SpatialGateMLP, one_conv
from apps.vision.superres.models.shell import Shell, ShuffleUpsampler
from core.mixers import RectangleAttention, RecursiveGeneralization


class RGT(Shell):
    """(B, channels, H, W) in [0, 1] -> (B, channels, scale H, scale W).

    Args:
        scale: 1, 2, 3, 4, 8.
        channels: of the image.
        dim: width of the tokens.
        depths: blocks of each group.
        heads: heads of the blocks of each group, or one number for all.
        window: height and width of the lying rectangles.
        ratio: width of q and k in the recursive attention, as a share of dim.
        mlp_ratio: width of the feed-forwards, as a multiple of dim.
        bias: whether q, k and v have one.
        score_scale: factor of the scores; from the width of a head by default.
        drop_path: the last block's share of samples left out in training, rising evenly from 0.
        make_join: makes the convolution after the blocks of a group and after the body.
        value_range: of the values inside.
        official: the release's way at borders; see the module.
    """

    def __init__(
        self,
        scale: int,
        *,
        channels: int = 3,
        dim: int = 180,
        depths: Sequence[int] = (6, 6, 6, 6, 6, 6),
        heads: int | Sequence[int] = 6,
        window: Sequence[int] = (8, 32),
        ratio: float = 0.5,
        mlp_ratio: float = 2.0,
        bias: bool = True,
        score_scale: float | None = None,
        drop_path: float = 0.1,
        make_join: Callable[[int], nn.Module] = one_conv,
        value_range: float = 1.0,
        official: bool = True,
    ) -> None:
        counts = [heads] * len(depths) if isinstance(heads, int) else list(heads)
        if len(counts) != len(depths):
            raise ValueError(f"RGT: depths {tuple(depths)} and heads {tuple(counts)}; give one number of heads a group")
        shares = iter(torch.linspace(0, drop_path, sum(depths), device="cpu").tolist())

        def mixer(group: int, number: int) -> nn.Module:
            if number % 2:
                return RecursiveGeneralization(dim, counts[group], ratio=ratio, bias=bias, scale=score_scale)
            shift = [size // 2 if shifted(group, number) else 0 for size in window]
            return RectangleAttention(
                dim, counts[group], window, shift=shift, bias=bias, scale=score_scale, official=official
            )

        groups = []
        for group, depth in enumerate(depths):
            blocks = [
                RGTBlock(dim, mixer(group, number), SpatialGateMLP(dim, int(dim * mlp_ratio)), drop_path=next(shares))
                for number in range(depth)
            ]
            groups.append(RGTGroup(dim, blocks, make_join))
        super().__init__(
            nn.Sequential(nn.LayerNorm(dim), *groups, nn.LayerNorm(dim)),
            ShuffleUpsampler(dim, channels, scale),
            channels=channels,
            dim=dim,
            join=make_join(dim),
            value_range=value_range,
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def shifted(group: int, number: int) -> bool:
    """Whether the local block with this number is shifted in this group, both counted from 0."""
    return number % 4 == (0 if group % 2 else 2)


def rgt_small(scale: int) -> RGT:
    """RGT-S: 6 groups of 6 blocks."""
    return RGT(scale)


def rgt(scale: int) -> RGT:
    """RGT: 8 groups of 6 blocks."""
    return RGT(scale, depths=(6,) * 8)
