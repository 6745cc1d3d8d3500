"""Small and large images put together, and what is wrong with them said by name.

The most frequent mistakes of people who train on folders of their own: the two folders do not hold the same images, a
small image is not its large one divided by the scale, or it was shrunk by another filter than the one that will be
tested (up to 1 dB lost). Sizes need not be multiples of the scale: rows and columns too many at the bottom and right
are cropped before shrinking, as for every benchmark.
"""

__all__ = ["FileItem", "Item", "Pair", "check_kernel", "list_images", "make_pair", "match"]

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apps.vision.superres.resize import modcrop, resize
from core.errors import UserError

from .images import ENDINGS, read_image, read_size

# Mean difference in levels from which a low-resolution image was certainly not made by our resize.
FOREIGN = 1.0
CHECKED = 3

Pixels = NDArray[np.uint8]


class Pair(NamedTuple):
    """One image at two sizes: lr (h, w, 3), hr (scale h, scale w, 3), uint8; `gray` if the file was coded in gray."""

    name: str
    lr: Pixels
    hr: Pixels
    gray: bool


class Item:
    """Base class: one image of a source; nothing is decoded before it is asked for."""

    name: str

    def size(self) -> tuple[int, int]:
        """(H, W) of the original."""
        raise TypeError(f"{type(self).__name__} must define size")

    def original(self) -> tuple[Pixels, bool]:
        """(H, W, 3) RGB, and whether it is coded in gray."""
        raise TypeError(f"{type(self).__name__} must define original")

    def small(self) -> Pixels | None:
        """The low-resolution image that comes with it, (h, w, 3); none if it is to be made."""
        return None


@dataclass(frozen=True)
class FileItem(Item):
    """A file, and the file of its small version if there is one. 16 bits are rounded to 8, alpha is left out."""

    name: str
    path: Path
    lr_path: Path | None = None

    def size(self) -> tuple[int, int]:
        return read_size(self.path)

    def original(self) -> tuple[Pixels, bool]:
        picture = read_image(self.path)
        return picture.eight_bit(), picture.gray

    def small(self) -> Pixels | None:
        return None if self.lr_path is None else read_image(self.lr_path).eight_bit()


def list_images(folder: str | Path) -> list[Path]:
    """All images in a folder and those below it, in the order of their names.

    Raises:
        UserError: no such folder, or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise UserError(f"{folder}: {what}; name a folder of images.")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()
    )
    if not found:
        raise UserError(f"{folder}: holds no images; put {', '.join(ENDINGS)} files there.")
    return found


def match(hr_folder: str | Path, lr_folder: str | Path, scale: int) -> list[FileItem]:
    """Files of two folders paired by name; a small one may add x4, _x4, -x4 or x4m, or have LR for HR, in its name.

    Raises:
        UserError: a file without a partner, or with two.
    """
    hr_folder, lr_folder = Path(hr_folder), Path(lr_folder)
    small: dict[str, list[Path]] = {}
    for path in list_images(lr_folder):
        small.setdefault(_name(path, lr_folder).lower(), []).append(path)
    items, used = [], set()
    for path in list_images(hr_folder):
        name = _name(path, hr_folder)
        found = [p for key in _small_names(name.lower(), scale) for p in small.get(key, [])]
        if not found:
            raise UserError(
                f"{path}: has no partner in {lr_folder}; expected {path.stem}{path.suffix} or "
                f"{path.stem}x{scale}{path.suffix} there."
            )
        if len(found) > 1:
            raise UserError(f"{path}: has two partners, {found[0].name} and {found[1].name}; leave one in {lr_folder}.")
        items.append(FileItem(name, path, found[0]))
        used.add(found[0])
    lonely = [path for paths in small.values() for path in paths if path not in used]
    if lonely:
        raise UserError(f"{lonely[0]}: has no large image in {hr_folder} ({len(lonely)} such files); add or remove it.")
    twice = {item.lr_path for item in items}
    if len(twice) < len(items):
        raise UserError(f"{hr_folder}: two large images belong to one file of {lr_folder}; rename them apart.")
    return items


def make_pair(item: Item, scale: int) -> Pair:
    """Both sizes of an item; the small one made by MATLAB's bicubic unless it comes with it.

    Raises:
        UserError: sizes that do not fit each other, or an image smaller than one pixel after shrinking.
    """
    hr, gray = item.original()
    lr = item.small()
    height, width = hr.shape[:2]
    if min(height, width) < scale:
        raise UserError(f"{item.name}: its {width}x{height} pixels are fewer than the scale {scale}; leave it out.")
    if lr is None:
        hr = modcrop(hr, scale)
        return Pair(item.name, shrink(hr, scale, gray), hr, gray)
    h, w = lr.shape[:2]
    if (h, w) != (height // scale, width // scale):
        where = f"{item.lr_path} and {item.path}" if isinstance(item, FileItem) else item.name
        raise UserError(
            f"{where}: are {w}x{h} and {width}x{height} pixels, but at scale {scale} the small one of the latter has "
            f"{width // scale}x{height // scale}; make it again, or change --data.scale."
        )
    return Pair(item.name, lr, hr[: h * scale, : w * scale], gray)


def shrink(hr: Pixels, scale: int, gray: bool = False) -> Pixels:
    """(H, W, 3) to (H / scale, W / scale, 3), one of three equal channels standing for all."""
    if scale == 1:
        return hr
    if gray:
        return np.repeat(resize(hr[..., 0], scale=1 / scale)[..., None], 3, 2)
    return resize(hr, scale=1 / scale)


def check_kernel(items: Sequence[FileItem], scale: int) -> None:
    """One warning if small images were made by another filter than ours, looked up in the first few."""
    if scale == 1:
        return
    for item in items[:CHECKED]:
        pair = make_pair(item, scale)
        difference = float(np.abs(pair.lr.astype(np.int16) - shrink(pair.hr, scale)).mean())
        if difference > FOREIGN:
            warnings.warn(
                f"{item.lr_path}: differs by {difference:.1f} levels on average from MATLAB's bicubic of {item.path}; "
                "a network trained on it loses quality on images that were shrunk the usual way (right if you want "
                "to undo just this filter).",
                stacklevel=3,
            )
            return


def _name(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder).with_suffix(""))


def _small_names(name: str, scale: int) -> list[str]:
    names = [name, *(f"{name}{sign}x{scale}{end}" for sign in ("", "_", "-") for end in ("", "m"))]
    if name.endswith("hr"):
        names.append(name[:-2] + "lr")
    return names
