"""What every backbone is: stages of growing stride that turn an image into a pyramid of feature maps.

    image (B, 3, H, W) -> [(B, ceil(H / stride), ceil(W / stride), channels) for each level], fine to coarse

A backbone is written as a list of `Stage(dim, stride, down, blocks)`, all of it on channels-last tokens.  A mask of
real pixels is passed on to whatever has one in its signature; a backbone with a part that has none, because its maths
depend on the extent of the map, refuses it.

`Normed` puts a norm on every level, as the releases do for segmentation and detection; `Classifier` in `classifier` is
the other end that a release may have.  Both leave the backbone as it is, so one set of weights serves all three.
"""

__all__ = ["Backbone", "Normed", "Stage", "drop_paths", "init_linears", "takes_mask"]

from collections.abc import Callable, Sequence
from inspect import signature

import torch
from torch import Tensor, nn

from core.mixers import Mixer


def takes_mask(module: nn.Module) -> bool:
    """Whether a module's call has a mask."""
    return "mask" in signature(module.forward).parameters


class Stage(nn.Module):
    """One level: a change of token count, then blocks.

    Args:
        dim: width of the level's tokens.
        stride: fine tokens that one of this level's takes the place of, an axis.
        down: tokens to tokens, or a module of `core.resample`, which also takes and gives a mask; the stem at first.
        blocks: tokens to tokens, one after the other.
        norm: of the level's result, both what it hands out and what goes on.
    """

    def __init__(
        self, dim: int, stride: int, down: nn.Module, blocks: Sequence[nn.Module], norm: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.dim = dim
        self.stride = stride
        self.down = down
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self._resamples = takes_mask(down)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Tokens (B, H, W, C) and their mask, or None, to this level's."""
        x, mask = self.enter(x, mask)
        return self.mix(x, mask), mask

    def enter(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The change of token count alone: what the blocks begin with."""
        if self._resamples:
            x, mask, _ = self.down(x, mask)
            return x, mask
        return self.down(x), mask

    def mix(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The blocks and the norm behind them."""
        for block in self.blocks:
            x = block(x) if mask is None else block(x, mask=mask)
        return x if self.norm is None else self.norm(x)

    def masked(self) -> bool:
        """Whether all of it can leave padding out."""
        mixers = [part for part in self.modules() if isinstance(part, Mixer)]
        return all(takes_mask(part) for part in (self.down, *self.blocks, *mixers))


class Backbone(nn.Module):
    """A pyramid of feature maps.

    Args:
        stages: the levels, fine to coarse.

    Attributes:
        channels: width of each level.
        strides: pixels that one token of a level stands for, an axis.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels = [stage.dim for stage in stages]
        self.strides: list[int] = []
        for stage in stages:
            self.strides.append(stage.stride * (self.strides[-1] if self.strides else 1))

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> list[Tensor]:
        """The feature maps of an image.

        Args:
            x: (B, 3, H, W), any H and W.
            mask: (B, H, W) boolean, True = real pixel; features at real places do not depend on the others.

        Returns:
            One (B, ceil(H / stride), ceil(W / stride), channels) a level.

        Raises:
            ValueError: for a mask where a part depends on the extent of the map.
        """
        if mask is not None and not all(stage.masked() for stage in self.stages):  # type: ignore[operator]
            raise ValueError(f"{type(self).__name__}: features depend on the extent of the map; leave the mask out")
        x = x.movedim(1, -1)
        features = []
        for stage in self.stages:
            x, mask = stage(x, mask)
            features.append(x)
        return features

    def head(self, classes: int) -> nn.Module:
        """The release's classification head: the last feature map (B, h, w, C) -> logits (B, classes)."""
        raise NotImplementedError(f"{type(self).__name__} has no classification head")


class Normed(nn.Module):
    """A backbone with a norm on every level that it hands out, none on what goes on inside.

    Args:
        backbone: the pyramid.
        norm: makes a norm from a width.
    """

    def __init__(self, backbone: Backbone, norm: Callable[[int], nn.Module] = nn.LayerNorm) -> None:
        super().__init__()
        self.backbone = backbone
        self.channels, self.strides = backbone.channels, backbone.strides
        self.norms = nn.ModuleList(norm(dim) for dim in backbone.channels)

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> list[Tensor]:
        """As the backbone's, normed."""
        return [norm(f) for norm, f in zip(self.norms, self.backbone(x, mask=mask), strict=True)]


def drop_paths(last: float, depths: Sequence[int]) -> list[list[float]]:
    """Shares of dropped branches, evenly from 0 at the first block to `last` at the last; one list a stage."""
    shares = torch.linspace(0, last, sum(depths), device="cpu").split(list(depths))
    return [share.tolist() for share in shares]


def init_linears(module: nn.Module, std: float = 0.02) -> None:
    """Linear layers as nearly all releases begin: truncated normal weights, biases 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
