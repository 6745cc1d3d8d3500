"""DRCT (Hsu et al. 2024): Swin blocks that are connected densely inside a group.

    x_k = lrelu(W_k block_k([x, x_1 .. x_(k-1)])) for k = 1..4,   group(x) = x + 0.2 W_5 block_5([x, x_1 .. x_4])

x_k has `growth` channels [gc].  Shifts alternate 0, window // 2; the MLPs of blocks 4 and 5 are as wide as the tokens.
A block of width D has heads - (D mod heads) heads, as the release has it.

Decided: the release's `depths` only counts groups, so there is one number of heads a group and no depth; W are Linear
layers on tokens where the release has 1 x 1 convolutions.  Heads that do not divide a width, on which the release
fails in the first forward pass, are refused at once.
"""

__all__ = ["DRCT", "DenseGroup", "drct", "drct_large"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.superres.models.shell import Shell, ShuffleUpsampler, Trunk, reflect
from apps.vision.superres.models.swinir import conv3, initialise, swin_block

# Blocks of a group, and what each group takes of the release's drop-path schedule (it says six, and uses the first).
_BLOCKS = 5
_SCHEDULED = 6


class DenseGroup(nn.Module):
    """Five blocks, each on all results before it; (B, H, W, dim) -> the same shape.

    Args:
        dim: width of the tokens.
        heads: what the blocks' numbers of heads are made of, see above.
        window: side of the windows.
        growth: width of the result of a block.
        mlp_ratio: width of the MLPs' hidden layer over that of the tokens, for the first three blocks.
        bias: whether q, k and v have one.
        score_scale: factor of the scores; width of a head ** -0.5 by default.
        drop_path: share of samples whose branches are left out in training.
        shifted: whether the windows of every second block are shifted by half.

    Raises:
        ValueError: where a block's number of heads does not divide its width.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window: int,
        *,
        growth: int = 32,
        mlp_ratio: float = 2.0,
        bias: bool = True,
        score_scale: float | None = None,
        drop_path: float = 0.0,
        shifted: bool = True,
    ) -> None:
        super().__init__()
        widths = [dim + number * growth for number in range(_BLOCKS)]
        counts = [heads - width % heads for width in widths]
        if bad := [(w, h) for w, h in zip(widths, counts, strict=True) if w % h]:
            raise ValueError(
                f"DRCT: a block of width {bad[0][0]} gets {bad[0][1]} heads, which do not divide it; "
                f"change dim {dim}, growth {growth} or heads {heads}"
            )
        self.blocks = nn.ModuleList(
            swin_block(
                width,
                count,
                window,
                window // 2 if shifted and number % 2 else 0,
                mlp_ratio=mlp_ratio if number < 3 else 1.0,
                bias=bias,
                score_scale=score_scale,
                drop_path=drop_path,
            )
            for number, (width, count) in enumerate(zip(widths, counts, strict=True))
        )
        self.narrow = nn.ModuleList(nn.Linear(width, growth) for width in widths[:-1])
        self.leave = nn.Linear(widths[-1], dim)

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for block, narrow in zip(self.blocks[:-1], self.narrow, strict=True):
            seen = torch.cat([seen, F.leaky_relu(narrow(block(seen)), 0.2)], -1)
        return torch.add(x, self.leave(self.blocks[-1](seen)), alpha=0.2)


class DRCT(Shell):
    """(B, channels, H, W) in [0, 1] of any size -> (B, channels, scale H, scale W).

    Args:
        scale: how much larger the result is.
        channels: of the image.
        dim: width of the tokens.
        heads: one number a group, see above; as many groups as numbers.
        window: side of the windows.
        growth: width of the results inside a group.
        mlp_ratio: width of the MLPs' hidden layer over that of the tokens.
        bias: whether q, k and v have one.
        score_scale: factor of the scores; width of a head ** -0.5 by default.
        drop_path: share of samples whose branch is left out, rising over the groups from 0.
        value_range: factor of the values inside.
        shifted: whether the windows of every second block are shifted by half.
        make_join: makes the convolution after the groups.
        pad: fills an image up to multiples of the window.
    """

    def __init__(
        self,
        scale: int,
        *,
        channels: int = 3,
        dim: int = 180,
        heads: Sequence[int] = (6,) * 6,
        window: int = 16,
        growth: int = 32,
        mlp_ratio: float = 2.0,
        bias: bool = True,
        score_scale: float | None = None,
        drop_path: float = 0.1,
        value_range: float = 1.0,
        shifted: bool = True,
        make_join: Callable[[int], nn.Module] = conv3,
        pad: Callable[[Tensor, int], Tensor] = reflect,
    ) -> None:
        shares = torch.linspace(0, drop_path, _SCHEDULED * len(heads), device="cpu").tolist()[::_SCHEDULED]
        groups = [
            DenseGroup(
                dim,
                count,
                window,
                growth=growth,
                mlp_ratio=mlp_ratio,
                bias=bias,
                score_scale=score_scale,
                drop_path=share,
                shifted=shifted,
            )
            for count, share in zip(heads, shares, strict=True)
        ]
        super().__init__(
            Trunk(dim, groups),
            ShuffleUpsampler(dim, channels, scale),
            channels=channels,
            dim=dim,
            join=make_join(dim),
            multiple=window,
            value_range=value_range,
            pad=pad,
        )
        initialise(self)


def drct(scale: int) -> DRCT:
    """DRCT: 14.0 to 14.2 M parameters."""
    return DRCT(scale)


def drct_large(scale: int) -> DRCT:
    """DRCT-L: 27.4 to 27.6 M parameters."""
    return DRCT(scale, heads=(6,) * 12)
