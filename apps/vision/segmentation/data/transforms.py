"""Augmentation of an image and its truth together, by torchvision's v2 functions on its `tv_tensors`.

Maps of classes or segments are tv_tensors too, so that whatever moves the image moves them, by the nearest pixel and
never by interpolation, and what is beyond the image is void there. In the image it has ImageNet's mean colour, which is
0 once it is normalised.
"""

__all__ = ["MEAN", "Augmentation", "cropped", "resized"]

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from core.errors import UserError

from .items import Scene
from .masks import IGNORE

# ImageNet's mean colour, 0 .. 255.
MEAN = (124, 116, 104)


class Augmentation:
    """Scale, crop, flip and colours, each drawn from a generator.

    Args:
        scale: least and greatest; drawn so that halving and doubling are as likely.
        flip: probability of mirroring left and right.
        brightness, contrast, saturation: strongest change of each, as a share; applied half of the time.
        hue: strongest turn of the colours, as a share of the circle (at most 0.5); applied half of the time.
    """

    def __init__(
        self,
        scale: tuple[float, float] = (0.5, 2.0),
        flip: float = 0.5,
        brightness: float = 0.25,
        contrast: float = 0.25,
        saturation: float = 0.25,
        hue: float = 0.0,
    ) -> None:
        if not 0 < scale[0] <= scale[1]:
            raise UserError(f"Augmentation: scale {tuple(scale)} must be two positive numbers, the lesser one first.")
        if not (0 <= flip <= 1 and 0 <= hue <= 0.5 and all(0 <= v < 1 for v in (brightness, contrast, saturation))):
            raise UserError(
                f"Augmentation: flip {flip}, brightness {brightness}, contrast {contrast} and saturation {saturation} "
                f"must be shares, hue {hue} at most 0.5."
            )
        self.scale, self.flip, self.hue = (scale[0], scale[1]), flip, hue
        self.changes = (
            (F.adjust_brightness, brightness),
            (F.adjust_contrast, contrast),
            (F.adjust_saturation, saturation),
        )

    def __call__(self, scene: Scene, rng: np.random.Generator, crop: tuple[int, int] | None) -> Scene:
        """A new scene of the size `crop`, or of the scaled image."""
        factor = float(np.exp(rng.uniform(*np.log(self.scale))))
        height, width = (max(1, round(side * factor)) for side in scene.image.shape[1:])
        if crop is None:
            scene = resized(scene, (height, width))
        else:
            top = int(rng.integers(0, max(0, height - crop[0]) + 1))
            left = int(rng.integers(0, max(0, width - crop[1]) + 1))
            scene = _part(scene, (height, width), top, left, crop)
        if rng.random() < self.flip:
            scene = _each(scene, F.horizontal_flip)
        image: Tensor = tv_tensors.Image(scene.image)
        for change, strength in self.changes:
            if strength and rng.random() < 0.5:
                image = change(image, 1 + float(rng.uniform(-strength, strength)))
        if self.hue and rng.random() < 0.5:
            image = F.adjust_hue(image, float(rng.uniform(-self.hue, self.hue)))
        return listed(scene._replace(image=image.as_subclass(Tensor)))


def resized(scene: Scene, size: tuple[int, int]) -> Scene:
    """The whole scene at another size: the image by antialiased bilinear interpolation, its truth by nearest."""
    if tuple(scene.image.shape[1:]) == size:
        return scene

    def on(x: Tensor) -> Tensor:
        # v2 resizes masks by `nearest`, which takes the first pixel of each cell and moves labels by half of it.
        if isinstance(x, tv_tensors.Mask):
            return F.resize(x.as_subclass(Tensor)[None], list(size), InterpolationMode.NEAREST_EXACT)[0]
        return F.resize(x, list(size), antialias=True)

    return _each(scene, on)


def cropped(scene: Scene, top: int, left: int, size: tuple[int, int]) -> Scene:
    """A window of a scene; what is beyond the image is void."""
    height, width = scene.image.shape[1:]
    bottom, right = min(top + size[0], height), min(left + size[1], width)
    inside = _each(scene, lambda x: F.crop(x, top, left, bottom - top, right - left))
    return _padded(inside, size)


def _part(scene: Scene, scaled: tuple[int, int], top: int, left: int, crop: tuple[int, int]) -> Scene:
    """The window of the scaled scene; only the pixels that it needs are scaled."""
    height, width = scene.image.shape[1:]
    high, wide = min(crop[0], scaled[0]), min(crop[1], scaled[1])
    down, across = height / scaled[0], width / scaled[1]
    first, start = int(top * down), int(left * across)
    last = min(height, max(first + 1, round((top + high) * down)))
    end = min(width, max(start + 1, round((left + wide) * across)))
    inside = _each(scene, lambda x: F.crop(x, first, start, last - first, end - start))
    return _padded(resized(inside, (high, wide)), crop)


def _padded(scene: Scene, size: tuple[int, int]) -> Scene:
    """Void to the right and below, up to the size."""
    down, across = size[0] - scene.image.shape[1], size[1] - scene.image.shape[2]
    if down <= 0 and across <= 0:
        return scene
    border = [0, 0, max(0, across), max(0, down)]
    image = scene.image.new_tensor(MEAN)[:, None, None].expand(3, *size).clone()
    image[:, : scene.image.shape[1], : scene.image.shape[2]] = scene.image
    labels, segments = scene.labels, scene.segments
    return scene._replace(
        image=image,
        labels=None if labels is None else F.pad(tv_tensors.Mask(labels), border, fill=IGNORE).as_subclass(Tensor),
        segments=None if segments is None else F.pad(tv_tensors.Mask(segments), border, fill=-1).as_subclass(Tensor),
    )


def _each(scene: Scene, function: Callable[[Tensor], Tensor]) -> Scene:
    """One geometric function on the image and its maps."""

    def on(x: Tensor | None) -> Tensor | None:
        return None if x is None else function(tv_tensors.Mask(x)).as_subclass(Tensor)

    image = function(tv_tensors.Image(scene.image)).as_subclass(Tensor)
    return scene._replace(image=image, labels=on(scene.labels), segments=on(scene.segments))


def listed(scene: Scene) -> Scene:
    """For training: crowds become void, and segments without a pixel are no longer listed."""
    if scene.segments is None or scene.kinds is None:
        return scene
    segments, kinds = scene.segments.long(), scene.kinds
    pixels = torch.bincount(segments.flatten() + 1, minlength=len(kinds) + 1)[1:]
    keep = pixels > 0
    if scene.crowd is not None:
        keep &= ~scene.crowd
    table = torch.cat([torch.where(keep, keep.cumsum(0) - 1, -1), torch.tensor([-1])])
    return scene._replace(
        segments=table[segments].int(), kinds=kinds[keep], crowd=torch.zeros(int(keep.sum()), dtype=torch.bool)
    )
