"""What sources of data list, and what a network gets of it.

A `Scene` is one image at its own size. Its truth is either a map of classes (`labels`) or a map of segments with the
class of each (`segments`, `kinds`), from which the classes follow; files to predict have neither. Classes are numbered
from 0 by the source, `IGNORE` (255) is void and never a class; in maps of segments void is -1.

Batches are the same dictionary everywhere:

    image     (B, 3, H, W) float32 in [0, 1], not normalised
    labels    (B, H, W) int64 classes, IGNORE where a pixel does not count
    segments  (B, H, W) int64 places in `kinds`, -1 is void; or None
    kinds     list of B (M,) int64 classes of the segments; or None
    crowd     list of B (M,) bool, segments that are regions of many objects; or None
    name      list of B names
    index     list of B numbers in the part

In training crowds are void and segments that a crop left out are no longer listed.
"""

__all__ = ["Batch", "Item", "PairItem", "Scene", "Source", "collate", "labels_of", "matched", "semantic"]

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import UserError

from .images import image_size, read_image
from .masks import IGNORE, Colour


class Scene(NamedTuple):
    """One image and what is known of it.

    Attributes:
        image: (3, H, W) uint8.
        labels: (H, W) uint8 classes.
        segments: (H, W) int32 places in `kinds`.
        kinds: (M,) int64.
        crowd: (M,) bool.
        name: unique within the source.
    """

    image: Tensor
    labels: Tensor | None = None
    segments: Tensor | None = None
    kinds: Tensor | None = None
    crowd: Tensor | None = None
    name: str = ""


class Batch(TypedDict):
    """See the module."""

    image: Tensor
    labels: Tensor
    segments: Tensor | None
    kinds: list[Tensor] | None
    crowd: list[Tensor] | None
    name: list[str]
    index: list[int]


class Item:
    """Base class: one image of a source.

    Attributes:
        name: unique within the source.
    """

    name: str

    def size(self) -> tuple[int, int]:
        """(H, W), without decoding."""
        raise TypeError(f"{type(self).__name__} must define size")

    def load(self) -> Scene:
        """Everything that is known of it."""
        raise TypeError(f"{type(self).__name__} must define load")


class Source:
    """Base class of what can be named as data: one part of a set.

    Attributes:
        label: for tables and first lines.
        classes: names; a class is its place here.
        things: classes whose objects are told apart.
        palette: a colour for each class.
    """

    label: str = "images"
    classes: tuple[str, ...] = ()
    things: tuple[int, ...] = ()
    palette: tuple[Colour, ...] | None = None

    def items(self) -> list[Item]:
        """One entry an image, in a fixed order. Nothing is decoded before `load`."""
        raise TypeError(f"{type(self).__name__} must define items")


class PairItem(Item):
    """An image file and a mask file.

    Args:
        name: of both.
        image: its file.
        mask: its file; None for an image to predict.
        read: mask file to (H, W) uint8 classes.
    """

    def __init__(
        self, name: str, image: Path, mask: Path | None = None, read: Callable[[Path], NDArray[np.uint8]] | None = None
    ) -> None:
        self.name, self.image, self.mask, self.read = name, image, mask, read

    def size(self) -> tuple[int, int]:
        return image_size(self.image)

    def load(self) -> Scene:
        image = read_image(self.image)
        if self.mask is None or self.read is None:
            return Scene(image, name=self.name)
        labels = torch.from_numpy(np.array(self.read(self.mask)))
        fits(image, labels, self.image, self.mask)
        return Scene(image, labels, name=self.name)


def fits(image: Tensor, labels: Tensor, where: Path, mask: Path) -> None:
    """Image and mask have one size.

    Raises:
        UserError: they have not.
    """
    (height, width), (high, wide) = image.shape[1:], labels.shape
    if (height, width) != (high, wide):
        turned = " (the image is turned by its EXIF orientation?)" if (height, width) == (wide, high) else ""
        raise UserError(
            f"{mask}: has {wide}x{high} pixels, its image {where.name} {width}x{height}{turned}; masks must have the "
            "size of the image."
        )


def matched(
    images: Sequence[Path], masks: Sequence[Path], suffix: str = "", roots: tuple[Path, Path] | None = None
) -> list[tuple[str, Path, Path]]:
    """Name, image and mask, paired by name and never by position.

    Args:
        images, masks: files.
        suffix: what mask names have behind the image's name, such as "_L".
        roots: folders of both, below which the folders of a file belong to its name; by default names alone count.

    Raises:
        UserError: an image without mask, a mask without image, or a name that occurs twice.
    """

    def named(paths: Sequence[Path], end: str, root: Path | None) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in paths:
            stem = path.stem
            if end and not stem.endswith(end):
                raise UserError(f"{path}: its name does not end in {end}, as those of masks should; move it away.")
            name = stem.removesuffix(end) if end else stem
            if root is not None:
                name = str(path.relative_to(root).with_name(name))
            if name in found:
                raise UserError(f"{path}: has the same name as {found[name]}; rename one of them.")
            found[name] = path
        return found

    own, other = named(images, "", roots and roots[0]), named(masks, suffix, roots and roots[1])
    if lonely := sorted(own.keys() - other.keys()):
        raise UserError(f"{own[lonely[0]]}: has no mask named {Path(lonely[0]).name}{suffix} ({len(lonely)} such).")
    if lonely := sorted(other.keys() - own.keys()):
        raise UserError(f"{other[lonely[0]]}: has no image named {Path(lonely[0]).name} ({len(lonely)} such).")
    return [(name, path, other[name]) for name, path in sorted(own.items())]


def semantic(segments: Tensor, kinds: Tensor, crowd: Tensor | None = None) -> Tensor:
    """(H, W) classes of a map of segments; crowds have theirs unless they are named."""
    table = torch.cat([kinds, kinds.new_tensor([IGNORE])])
    if crowd is not None:
        table[:-1][crowd] = IGNORE
    return table[segments.long()]


def labels_of(scene: Scene) -> Tensor:
    """(H, W) int64 classes of a scene with truth; of its crowds, too.

    Raises:
        ValueError: it has none.
    """
    if scene.labels is not None:
        return scene.labels.long()
    if scene.segments is None or scene.kinds is None:
        raise ValueError(f"{scene.name}: has no labels.")
    return semantic(scene.segments, scene.kinds)


def collate(samples: list[tuple[int, Scene]]) -> Batch:
    """Scenes of one size as a batch.

    Raises:
        UserError: their sizes differ.
    """
    scenes = [scene for _, scene in samples]
    if len({scene.image.shape for scene in scenes}) > 1:
        shapes = sorted({tuple(scene.image.shape[1:]) for scene in scenes})
        raise UserError(
            f"--data.crop: images of the sizes {', '.join(f'{h}x{w}' for h, w in shapes[:3])} make no batch; give a "
            "crop to train on, or --data.batch_size 1."
        )
    whole = all(scene.segments is not None and scene.kinds is not None for scene in scenes)
    labels = [
        torch.full(scene.image.shape[1:], IGNORE)
        if scene.labels is None and scene.segments is None
        else labels_of(scene)
        for scene in scenes
    ]
    none = torch.zeros(0, dtype=torch.bool)
    return {
        "image": torch.stack([scene.image for scene in scenes]).float().div_(255),
        "labels": torch.stack(labels),
        "segments": torch.stack([s.segments.long() for s in scenes if s.segments is not None]) if whole else None,
        "kinds": [s.kinds for s in scenes if s.kinds is not None] if whole else None,
        "crowd": [none if s.crowd is None else s.crowd for s in scenes] if whole else None,
        "name": [scene.name for scene in scenes],
        "index": [index for index, _ in samples],
    }
