"""Pyramids: stages of growing stride, each a change of token count followed by blocks (Swin, PVT, MetaFormer)."""

__all__ = ["Pyramid", "Stage"]

from collections.abc import Sequence

from torch import Tensor, nn


class Stage(nn.Module):
    """One level of a pyramid.

    Args:
        dim: width of the level's tokens.
        stride: how many fine tokens an axis become one.
        resample: `(x, mask) -> Resampled`; the stem at the first level.
        body: `body(x, mask=mask) -> x`, a stack of blocks.
        norm: applied to what the level hands out, not to what goes on to the next.
    """

    def __init__(
        self, dim: int, stride: int, resample: nn.Module, body: nn.Module, norm: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.dim = dim
        self.stride = stride
        self.resample = resample
        self.body = body
        self.norm = norm


class Pyramid(nn.Module):
    """Features of several strides from one input (B, *grid, C).

    Args:
        stages: the levels, fine to coarse.

    Attributes:
        channels: width of each level.
        strides: input tokens a level's token, an axis.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels = [stage.dim for stage in stages]
        self.strides: list[int] = []
        for stage in stages:
            self.strides.append(stage.stride * (self.strides[-1] if self.strides else 1))

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> list[tuple[Tensor, Tensor | None]]:
        """The features of each level, (B, *ceil(grid / stride), dim), and their masks (None where none was given)."""
        features = []
        for stage in self.stages:
            x, mask, _ = stage.resample(x, mask)  # type: ignore[operator]
            x = stage.body(x) if mask is None else stage.body(x, mask=mask)  # type: ignore[operator]
            features.append((x if stage.norm is None else stage.norm(x), mask))  # type: ignore[operator]
        return features
