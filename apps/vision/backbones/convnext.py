"""ConvNeXt (Liu et al. 2022): depthwise 7 x 7, norm and MLP in one residual branch.

    x + gamma W2 gelu(W1 norm(depthwise7(x)))

Stem 4 x 4 / 4 and norm; between the stages a norm and 2 x 2 / 2; LayerNorm with eps 1e-6, gamma 1e-6 at the start.

Decided: maps that do not divide are filled up with zeros, so that levels have ceil(size / stride) tokens; the release
drops what is left over, as `official=True` does.
"""

__all__ = ["ConvNeXt", "convnext_base", "convnext_large", "convnext_small", "convnext_tiny"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from apps.vision.backbones.base import Backbone, Stage, drop_paths
from apps.vision.backbones.classifier import PoolHead
from apps.vision.backbones.parts import Down, init_normal, layer_norm, no_norm
from core.blocks import PreNorm
from core.channels import MLP
from core.mixers import DepthwiseConv
from core.resample import PatchEmbed


class ConvBranch(nn.Module):
    """Depthwise convolution, norm, MLP: the branch of a ConvNeXt block.

    Args:
        dim: width of the tokens.
        kernel: of the convolution.
    """

    def __init__(self, dim: int, kernel: int = 7) -> None:
        super().__init__()
        self.conv = DepthwiseConv(dim, (kernel, kernel))
        self.norm = layer_norm(dim)
        self.mlp = MLP(dim, 4 * dim)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """x (B, H, W, dim)."""
        return self.mlp(self.norm(self.conv(x, mask=mask)))


class ConvNeXt(Backbone):
    """ConvNeXt's pyramid.

    Args:
        depths: blocks a stage.
        dims: width of each stage.
        drop_path: share of dropped branches at the last block.
        layer_scale: first value of gamma; None = no gamma.
        channels: of the image.
        official: drop the rows and columns that do not fill a patch.
    """

    def __init__(
        self,
        depths: Sequence[int] = (3, 3, 9, 3),
        dims: Sequence[int] = (96, 192, 384, 768),
        *,
        drop_path: float = 0.0,
        layer_scale: float | None = 1e-6,
        channels: int = 3,
        official: bool = False,
    ) -> None:
        stages = []
        before = channels
        for level, (dim, shares) in enumerate(zip(dims, drop_paths(drop_path, depths), strict=True)):
            stride = 2 if level else 4
            embed = PatchEmbed(before, dim, (stride, stride), norm=None if level else layer_norm)
            down = Down(embed, layer_norm(before) if level else None, floor=stride if official else 0)
            blocks = [
                PreNorm(dim, ConvBranch(dim), norm=no_norm, layer_scale=layer_scale, drop_path=share)
                for share in shares
            ]
            stages.append(Stage(dim, stride, down, blocks))
            before = dim
        super().__init__(stages)
        init_normal(self)
        for part in self.modules():
            if isinstance(part, DepthwiseConv):
                nn.init.trunc_normal_(part.weight, std=0.02)
                assert isinstance(part.bias, torch.Tensor)
                nn.init.zeros_(part.bias)

    def head(self, classes: int) -> nn.Module:
        dim = self.channels[-1]
        return PoolHead(dim, classes, norm_pooled=layer_norm(dim))


def convnext_tiny(*, drop_path: float = 0.1, official: bool = False) -> ConvNeXt:
    """82.1 % top-1 of ImageNet at 224."""
    return ConvNeXt(drop_path=drop_path, official=official)


def convnext_small(*, drop_path: float = 0.4, official: bool = False) -> ConvNeXt:
    """83.1 %."""
    return ConvNeXt((3, 3, 27, 3), drop_path=drop_path, official=official)


def convnext_base(*, drop_path: float = 0.5, official: bool = False) -> ConvNeXt:
    """83.8 %."""
    return ConvNeXt((3, 3, 27, 3), (128, 256, 512, 1024), drop_path=drop_path, official=official)


def convnext_large(*, drop_path: float = 0.5, official: bool = False) -> ConvNeXt:
    """84.3 %."""
    return ConvNeXt((3, 3, 27, 3), (192, 384, 768, 1536), drop_path=drop_path, official=official)
