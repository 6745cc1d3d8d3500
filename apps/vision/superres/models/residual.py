"""A small convolutional network that learns what bicubic misses: for quick training on a CPU; no published size.

    y = bicubic(x) + shuffle(conv(f0 + conv(body(f0)))),   f0 = conv(x),   body: EDSR's residual blocks

The residual to bicubic is VDSR's idea (Kim et al. 2016), enlargement at the end ESPCN's (Shi et al. 2016), the blocks
are EDSR's. The last convolution starts at zero, so training starts from bicubic instead of from noise.
"""

__all__ = ["ResidualSR"]

from torch import Tensor, nn
from torch.nn import functional as F


class ResidualSR(nn.Module):
    """(B, channels, H, W) in [0, 1] -> (B, channels, scale H, scale W), not clamped.

    Args:
        scale: any whole number.
        channels: of the image.
        dim: width of the features.
        depth: number of residual blocks.
    """

    def __init__(self, scale: int, *, channels: int = 3, dim: int = 32, depth: int = 5) -> None:
        super().__init__()
        self.scale = scale
        self.enter = nn.Conv2d(channels, dim, 3, padding=1)
        self.body = nn.ModuleList(_Block(dim) for _ in range(depth))
        self.join = nn.Conv2d(dim, dim, 3, padding=1)
        self.leave = nn.Conv2d(dim, channels * scale * scale, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, image: Tensor) -> Tensor:
        first = x = self.enter(image)
        for block in self.body:
            x = block(x)
        detail = F.pixel_shuffle(self.leave(first + self.join(x)), self.scale)
        # With antialias torch takes Keys' kernel with a = -0.5, as MATLAB does, otherwise a = -0.75.
        size = (image.shape[2] * self.scale, image.shape[3] * self.scale)
        return F.interpolate(image, size=size, mode="bicubic", antialias=True) + detail


class _Block(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(dim, dim, 3, padding=1)
        self.leave = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.leave(F.relu(self.enter(x)))
