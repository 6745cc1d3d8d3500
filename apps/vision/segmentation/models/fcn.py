"""The head that helps others to learn: 3x3, BatchNorm, ReLU and a linear layer over one feature map (Long et al. 2015,
arXiv 1411.4038, in mmsegmentation's form)."""

__all__ = ["FCNHead"]

from collections.abc import Sequence

from torch import Tensor, nn

from apps.vision.segmentation.models.layers import ConvNorm


class FCNHead(nn.Module):
    """Over one of the maps.

    Args:
        channels: of the features, fine to coarse.
        classes: numbers that are predicted.
        dim: width.
        depth: convolutions.
        level: of the map, as an index.
        dropout: of whole channels before the last layer.
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        dim: int = 256,
        depth: int = 1,
        level: int = -2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.level = level
        self.convs = nn.Sequential(*(ConvNorm(channels[level] if n == 0 else dim, dim, 3) for n in range(depth)))
        self.dropout = nn.Dropout2d(dropout)
        self.out = nn.Conv2d(dim if depth else channels[level], classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps (B, h, w, C) -> (B, classes, h, w) at the level's size."""
        return self.out(self.dropout(self.convs(features[self.level].movedim(-1, 1))))
