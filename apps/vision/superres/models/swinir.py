"""SwinIR (Liang et al. 2021): groups of Swin blocks between convolutions, windows shifted in every second block.

    y = x + attention(norm(x)),   block(x) = y + mlp(norm(y)),   group(x) = conv(blocks(x)) + x

Names of the release in brackets: window 8 (7 for JPEG artefacts), `depths` and `heads` one number a group,
`make_conv` [resi_connection] `conv3` or `conv_bottleneck` [3conv], `make_upsampler` [upsampler], see `shell`.

Decided: the release fixes window and shift by the training patch [img_size]: with a patch no larger than the window
nothing is ever shifted, which `shifted=False` says here.  Dropout of tokens and weights, 0 in all of its networks, is
left out.
"""

__all__ = [
    "SwinGroup",
    "SwinIR",
    "check_groups",
    "conv3",
    "conv_bottleneck",
    "initialise",
    "swin_block",
    "swinir",
    "swinir_artefacts",
    "swinir_denoise",
    "swinir_light",
    "swinir_real",
    "swinir_real_large",
]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from apps.vision.superres.models.shell import (
    DirectUpsampler,
    NearestUpsampler,
    Refiner,
    Shell,
    ShuffleUpsampler,
    TokenConv,
    Trunk,
    reflect,
)
from core.blocks import Block
from core.channels import MLP
from core.mixers import WindowAttention
from core.mixers.groups import GroupAttention


def conv3(dim: int) -> nn.Module:
    """One 3 x 3 convolution of tokens."""
    return TokenConv(dim, dim, 3, padding=1)


def conv_bottleneck(dim: int) -> nn.Module:
    """Three convolutions through a quarter of the width."""
    return nn.Sequential(
        TokenConv(dim, dim // 4, 3, padding=1),
        nn.LeakyReLU(0.2),
        TokenConv(dim // 4, dim // 4, 1),
        nn.LeakyReLU(0.2),
        TokenConv(dim // 4, dim, 3, padding=1),
    )


def swin_block(
    dim: int,
    heads: int,
    window: int,
    shift: int,
    *,
    mlp_ratio: float = 2.0,
    bias: bool = True,
    score_scale: float | None = None,
    drop_path: float = 0.0,
) -> Block:
    """Attention in windows and an MLP, each x + branch(norm(x)).

    Args:
        dim: width of the tokens.
        heads: number of heads.
        window: side of the windows.
        shift: where the first full window starts, on both axes.
        mlp_ratio: width of the MLP's hidden layer over dim.
        bias: whether q, k and v have one.
        score_scale: factor of the scores; width of a head ** -0.5 by default.
        drop_path: share of samples whose branches are left out in training.
    """
    mixer = WindowAttention(
        dim, heads, (window, window), shift=(shift, shift), bias=bias, scale=score_scale, official=True
    )
    return Block(dim, mixer, MLP(dim, int(dim * mlp_ratio), recompute=True), drop_path=drop_path)


def initialise(module: nn.Module) -> None:
    """Linear layers of attention and MLPs as the releases begin: normal with deviation 0.02, biases 0."""
    for part in module.modules():
        if isinstance(part, GroupAttention | MLP):
            for layer in part.children():
                if isinstance(layer, nn.Linear):
                    nn.init.trunc_normal_(layer.weight, std=0.02)
                    if layer.bias is not None:
                        nn.init.zeros_(layer.bias)


def check_groups(name: str, depths: Sequence[int], heads: Sequence[int]) -> None:
    """Raises ValueError where the groups' depths and heads do not pair."""
    if len(depths) != len(heads) or not depths:
        raise ValueError(f"{name}: depths {tuple(depths)} and heads {tuple(heads)}; give one number of each a group")


class SwinGroup(nn.Module):
    """Blocks, a convolution and a residual; (B, H, W, dim) -> the same shape.

    Args:
        blocks: one after the other.
        conv: of the blocks' result, or `nn.Identity()`.
    """

    def __init__(self, blocks: Sequence[nn.Module], conv: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for block in self.blocks:
            y = block(y)
        return self.conv(y) + x


class SwinIR(Shell):
    """(B, channels, H, W) in [0, 1] of any size -> (B, channels, scale H, scale W).

    Args:
        scale: how much larger the result is.
        channels: of the image.
        dim: width of the tokens.
        depths: blocks in each group.
        heads: of the blocks of each group.
        window: side of the windows.
        mlp_ratio: width of the MLPs' hidden layer over dim.
        bias: whether q, k and v have one.
        score_scale: factor of the scores; width of a head ** -0.5 by default.
        drop_path: share of samples whose branch is left out in the last block, rising evenly from 0.
        value_range: factor of the values inside (255 for JPEG artefacts).
        shifted: whether the windows of every second block are shifted by half.
        make_conv: makes the convolution of a group and the one after the groups.
        make_upsampler: makes the upsampler from dim, channels and scale.
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
        window: int = 8,
        mlp_ratio: float = 2.0,
        bias: bool = True,
        score_scale: float | None = None,
        drop_path: float = 0.1,
        value_range: float = 1.0,
        shifted: bool = True,
        make_conv: Callable[[int], nn.Module] = conv3,
        make_upsampler: Callable[[int, int, int], nn.Module] = ShuffleUpsampler,
        pad: Callable[[Tensor, int], Tensor] = reflect,
    ) -> None:
        check_groups("SwinIR", depths, heads)
        shares = iter(torch.linspace(0, drop_path, sum(depths), device="cpu").tolist())
        groups = []
        for depth, count in zip(depths, heads, strict=True):
            blocks = [
                swin_block(
                    dim,
                    count,
                    window,
                    window // 2 if shifted and number % 2 else 0,
                    mlp_ratio=mlp_ratio,
                    bias=bias,
                    score_scale=score_scale,
                    drop_path=next(shares),
                )
                for number in range(depth)
            ]
            groups.append(SwinGroup(blocks, make_conv(dim)))
        super().__init__(
            Trunk(dim, groups),
            make_upsampler(dim, channels, scale),
            channels=channels,
            dim=dim,
            join=make_conv(dim),
            multiple=window,
            value_range=value_range,
            pad=pad,
        )
        initialise(self)


def swinir(scale: int) -> SwinIR:
    """The network of the paper's classical super-resolution: 11.8 to 11.9 M parameters."""
    return SwinIR(scale)


def swinir_light(scale: int) -> SwinIR:
    """0.91 to 0.93 M parameters."""
    return SwinIR(scale, dim=60, depths=(6,) * 4, heads=(6,) * 4, make_upsampler=DirectUpsampler)


def swinir_real(scale: int) -> SwinIR:
    """For photographs with unknown degradations."""
    return SwinIR(scale, make_upsampler=NearestUpsampler)


def swinir_real_large(scale: int) -> SwinIR:
    """The larger one for photographs: 28 M parameters at x4."""
    return SwinIR(
        scale,
        dim=240,
        depths=(6,) * 9,
        heads=(8,) * 9,
        make_conv=conv_bottleneck,
        make_upsampler=NearestUpsampler,
    )


def swinir_denoise(channels: int = 3) -> SwinIR:
    """Removal of Gaussian noise, in colour or gray."""
    return SwinIR(1, channels=channels, make_upsampler=Refiner)


def swinir_artefacts(channels: int = 1) -> SwinIR:
    """Removal of JPEG artefacts."""
    return SwinIR(1, channels=channels, window=7, value_range=255.0, make_upsampler=Refiner)
