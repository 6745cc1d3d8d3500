"""What decoders are made of, on maps (B, C, H, W); features of a backbone (B, H, W, C) come in by `maps`, for free."""

__all__ = ["ConvNorm", "maps", "resize"]

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class ConvNorm(nn.Module):
    """act(norm(conv(x))), the map's size kept; the convolution has no bias, for the norm has one.

    Args:
        channels, width: of x and of the result.
        kernel: odd.
        act: made from the width; None for none.
        groups: of the convolution.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: int = 1,
        act: Callable[[int], nn.Module] | None = lambda width: nn.ReLU(),
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, kernel, padding=kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.act = None if act is None else act(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, width, H, W)."""
        x = self.norm(self.conv(x))
        return x if self.act is None else self.act(x)


def maps(features: Sequence[Tensor]) -> list[Tensor]:
    """Feature maps of a backbone with channels second, in the memory that they have."""
    return [x.movedim(-1, 1) for x in features]


def resize(x: Tensor, like: Tensor | tuple[int, int], align_corners: bool = False) -> Tensor:
    """Bilinear, to the size of another map or to (H, W)."""
    size = (like.shape[-2], like.shape[-1]) if isinstance(like, Tensor) else like
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)
