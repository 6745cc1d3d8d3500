"""U-Net (Ronneberger et al. 2015, "U-Net: convolutional networks for biomedical image segmentation", arXiv 1505.04597).

Two 3 x 3 convolutions a level, maximum of 2 x 2 between them, widths doubled downwards; upwards a transposed
convolution of 2 x 2, the map of the same level beside it, two convolutions again.  The plain network that others are
compared with.

Decided differently, as all do today: convolutions are padded, so the result has the size of the image, and followed by
batch norms; maps are padded to whole cells on the way down and cut on the way up.
"""

__all__ = ["UNet"]

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.segmentation.models.layers import ConvNorm
from apps.vision.segmentation.models.segmenter import Logits, Segmenter


class UNet(Segmenter):
    """Any H and W.

    Args:
        classes: numbers that are predicted for a pixel.
        dim: width of the first level.
        depth: levels.
    """

    def __init__(self, classes: int, dim: int = 64, depth: int = 5) -> None:
        super().__init__()
        widths = [dim * 2**level for level in range(depth)]
        self.down = nn.ModuleList(_double(a, b) for a, b in pairwise([3, *widths]))
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(_double(2 * a, a) for a in widths[:-1])
        self.head = nn.Conv2d(dim, classes, 1)

    def forward(self, x: Tensor) -> Logits:
        """(B, 3, H, W) -> logits at the size of the image."""
        skips: list[Tensor] = []
        for level, convs in enumerate(self.down):
            x = convs(F.max_pool2d(x, 2, ceil_mode=True) if level else x)
            skips.append(x)
        for skip, enlarge, convs in zip(skips[-2::-1], reversed(self.enlarge), reversed(self.up), strict=True):  # type: ignore[call-overload]
            x = enlarge(x)[..., : skip.shape[2], : skip.shape[3]]
            x = convs(torch.cat([skip, x], 1))
        return Logits(self.head(x))


def _double(a: int, b: int) -> nn.Sequential:
    return nn.Sequential(ConvNorm(a, b, 3), ConvNorm(b, b, 3))
