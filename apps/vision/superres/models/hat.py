"""HAT, the hybrid attention transformer (Chen et al. 2023): see `hat_layers` for its blocks, `shell` for the rest.

Names of the release: `compress` compress_ratio, `squeeze` squeeze_factor, `overlap` int(overlap_ratio * window) / 2,
`make_conv` resi_connection (`conv3`, or `nn.Identity` through a function of the width).

Decided: keys beyond the map count as zeros in the overlapping windows, as in the release, whose weights were trained
with it.  Images smaller than half a window, where the release's padding fails, are mirrored as often as needed.
"""

__all__ = ["HAT", "hat", "hat_large", "hat_small"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from apps.vision.superres.models.hat_layers import HybridBlock, HybridGroup, overlapping_block
from apps.vision.superres.models.shell import Shell, ShuffleUpsampler, Trunk, reflect
from apps.vision.superres.models.swinir import check_groups, conv3, initialise


class HAT(Shell):
    """(B, channels, H, W) in [0, 1] of any size -> (B, channels, scale H, scale W).

    Args:
        scale: how much larger the result is.
        channels: of the image.
        dim: width of the tokens.
        depths: hybrid blocks in each group.
        heads: of the blocks of each group.
        window: side of the windows.
        overlap: how far the keys of the overlapping windows reach beyond them, on each side.
        compress: dim over the width between the convolutions of a hybrid block.
        squeeze: dim over the width of its channel attention.
        conv_scale: factor of its convolutions.
        mlp_ratio: width of the MLPs' hidden layer over dim.
        bias: whether q, k and v have one.
        score_scale: factor of the scores; width of a head ** -0.5 by default.
        drop_path: share of samples whose branch is left out in the last block, rising evenly from 0.
        value_range: factor of the values inside.
        shifted: whether the windows of every second block are shifted by half.
        make_conv: makes the convolution of a group and the one after the groups.
        pad: fills an image up to multiples of the window.
    """

    def __init__(
        self,
        scale: int,
        *,
        channels: int = 3,
        dim: int = 180,
        depths: Sequence[int] = (6,) * 6,
        heads: Sequence[int] = (6,) * 6,
        window: int = 16,
        overlap: int = 4,
        compress: int = 3,
        squeeze: int = 30,
        conv_scale: float = 0.01,
        mlp_ratio: float = 2.0,
        bias: bool = True,
        score_scale: float | None = None,
        drop_path: float = 0.1,
        value_range: float = 1.0,
        shifted: bool = True,
        make_conv: Callable[[int], nn.Module] = conv3,
        pad: Callable[[Tensor, int], Tensor] = reflect,
    ) -> None:
        check_groups("HAT", depths, heads)
        shares = iter(torch.linspace(0, drop_path, sum(depths), device="cpu").tolist())
        groups = []
        for depth, count in zip(depths, heads, strict=True):
            blocks = [
                HybridBlock(
                    dim,
                    count,
                    window,
                    window // 2 if shifted and number % 2 else 0,
                    compress=compress,
                    squeeze=squeeze,
                    conv_scale=conv_scale,
                    mlp_ratio=mlp_ratio,
                    bias=bias,
                    score_scale=score_scale,
                    drop_path=next(shares),
                )
                for number in range(depth)
            ]
            last = overlapping_block(
                dim, count, window, overlap, mlp_ratio=mlp_ratio, bias=bias, score_scale=score_scale
            )
            groups.append(HybridGroup(blocks, last, make_conv(dim)))
        super().__init__(
            Trunk(dim, groups),
            ShuffleUpsampler(dim, channels, scale),
            channels=channels,
            dim=dim,
            join=make_conv(dim),
            multiple=window,
            value_range=value_range,
            pad=pad,
        )
        initialise(self)


def hat_small(scale: int) -> HAT:
    """HAT-S: 9.5 to 9.7 M parameters."""
    return HAT(scale, dim=144, compress=24, squeeze=24)


def hat(scale: int) -> HAT:
    """HAT: 20.6 to 20.8 M parameters."""
    return HAT(scale)


def hat_large(scale: int) -> HAT:
    """HAT-L: 40.7 to 40.9 M parameters."""
    return HAT(scale, depths=(6,) * 12, heads=(6,) * 12)
