"""Semantic FPN (Kirillov et al. 2019, "Panoptic feature pyramid networks", arXiv 1901.02446): every level is brought to
the finest size by steps of a convolution and a doubling, and all are summed up.

Shapes: features (B, h_i, w_i, C_i), fine to coarse -> (B, classes, h_1, w_1). Published: a pyramid of 256 channels,
steps of 128.  Where sizes are odd a map is brought to the next level's size at each step; mmsegmentation doubles and
stretches at the end, which is the same where sizes divide.
"""

__all__ = ["FPN", "SemanticFPNHead"]

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.segmentation.models.layers import ConvNorm, maps, resize


class FPN(nn.Module):
    """Top-down pyramid (Lin et al. 2017, arXiv 1612.03144): 1x1, plus the level above (nearest), 3x3; with biases.

    Args:
        channels: of the features, fine to coarse.
        dim: width of all levels.
    """

    def __init__(self, channels: Sequence[int], dim: int = 256) -> None:
        super().__init__()
        self.enter = nn.ModuleList(nn.Conv2d(width, dim, 1) for width in channels)
        self.smooth = nn.ModuleList(nn.Conv2d(dim, dim, 3, padding=1) for _ in channels)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Feature maps (B, h, w, C) -> (B, dim, h, w) each."""
        levels = [enter(x) for enter, x in zip(self.enter, maps(features), strict=True)]
        for n in range(len(levels) - 1, 0, -1):
            levels[n - 1] = levels[n - 1] + F.interpolate(levels[n], levels[n - 1].shape[-2:], mode="nearest")
        return [conv(x) for conv, x in zip(self.smooth, levels, strict=True)]


class SemanticFPNHead(nn.Module):
    """Steps and sum over a pyramid.

    Args:
        channels: of the features, fine to coarse, each at half the size of the one before.
        classes: numbers that are predicted.
        dim: width of the steps.
        pyramid_dim: width of the pyramid; None takes the features as one.
        dropout: of whole channels before the last layer.
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        dim: int = 128,
        pyramid_dim: int | None = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.pyramid = None if pyramid_dim is None else FPN(channels, pyramid_dim)
        widths = list(channels) if pyramid_dim is None else [pyramid_dim] * len(channels)
        self.levels = nn.ModuleList(
            nn.ModuleList(ConvNorm(width if step == 0 else dim, dim, 3) for step in range(max(1, n)))
            for n, width in enumerate(widths)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.out = nn.Conv2d(dim, classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps (B, h, w, C) -> (B, classes, h_1, w_1)."""
        levels = maps(features) if self.pyramid is None else self.pyramid(features)
        sizes = [(x.shape[-2], x.shape[-1]) for x in levels]
        total: Tensor | None = None
        for n, (x, steps) in enumerate(zip(levels, self.levels, strict=True)):
            for k, conv in enumerate(steps):  # type: ignore[arg-type]
                x = conv(x)
                if n:
                    x = resize(x, sizes[n - 1 - k])
            total = x if total is None else total + x
        assert total is not None
        return self.out(self.dropout(total))
