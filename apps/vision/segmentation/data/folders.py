"""Your own images and masks, with a list of classes.

    FOLDER/images/NAME.jpg   FOLDER/masks/NAME.png   FOLDER/classes.yaml (or .txt)   FOLDER/PART.txt (names, if wanted)

A class list is a text file of names, one a line, or YAML:

    classes:
      - {name: road, value: 7, colour: [128, 64, 128]}     value: the number in your masks; its place here if not given
      - {name: car, value: 26, colour: [0, 0, 142]}        colour: for masks that hold colours, and for pictures
      - tree                                               a name alone is enough
    ignore: [0, 255]       values (or colours) that do not count; 255 if not given
    others: false          true: every value or colour that is not listed does not count

Masks are read by their numbers if gray or of a palette, by their colours if RGB. A value that is not listed is an
error: masks of 0 and 255, or numbered from 1, need their values here.
"""

__all__ = ["ClassList", "Folder", "read_classes"]

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from core.errors import UserError, nearest

from .images import find_image, list_images, opened
from .items import Item, PairItem, Source, matched
from .masks import IGNORE, UNKNOWN, Colour, colour_table, index_mask, value_table
from .public import lines


@dataclass(frozen=True)
class ClassList:
    """What a class list says.

    Attributes:
        names: of the classes.
        values: number of each in the masks.
        colours: of each, or None.
        ignore, ignored_colours: what does not count.
        others: what is not listed does not count.
        where: the file.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]
    colours: tuple[Colour, ...] | None = None
    ignore: tuple[int, ...] = (IGNORE,)
    ignored_colours: tuple[Colour, ...] = ()
    others: bool = False
    where: str = "classes"

    @cached_property
    def by_value(self) -> NDArray[np.uint8]:
        """Table for masks of numbers."""
        table = value_table(dict(zip(self.values, range(len(self.names)), strict=True)), self.ignore)
        if self.others:
            table[table == UNKNOWN] = IGNORE
        return table

    def read(self, path: Path) -> NDArray[np.uint8]:
        """(H, W) classes of a mask, by numbers or by colours."""
        with opened(path) as image:
            coloured = image.mode in ("RGB", "RGBA") and image.format != "JPEG"
        if coloured and self.colours is None:
            raise UserError(
                f"{path}: its pixels are colours; give each class its `colour` in {self.where}, or save class numbers."
            )
        if coloured and self.colours is not None:
            return index_mask(path, _colours(self.colours, self.ignored_colours, self.others), coloured=True)
        return index_mask(path, self.by_value)


@lru_cache(maxsize=4)
def _colours(colours: tuple[Colour, ...], ignored: tuple[Colour, ...], others: bool) -> NDArray[np.uint8]:
    return colour_table(colours, ignored, others)


def read_classes(path: str | Path) -> ClassList:
    """A class list, `.txt` or YAML.

    Raises:
        UserError: missing, empty, or not of the form above; the sentence names the entry.
    """
    path = Path(path)
    if path.suffix.lower() == ".txt":
        names = tuple(lines(path))
        return _checked(ClassList(names, tuple(range(len(names))), where=str(path)))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; list the names of your classes there.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is no YAML ({str(error).splitlines()[0]}).") from None
    content = {"classes": content} if isinstance(content, list) else content
    if not isinstance(content, dict) or not isinstance(content.get("classes"), list):
        raise UserError(f"{path}: needs a list under `classes`.")
    known = ("classes", "ignore", "others")
    if strange := [key for key in content if key not in known]:
        raise UserError(f"{path}: has the key '{strange[0]}'; it takes {', '.join(known)}.{nearest(strange[0], known)}")
    listed: list[str] = []
    values: list[int] = []
    colours: list[Colour] = []
    for place, entry in enumerate(content["classes"]):
        entry = entry if isinstance(entry, dict) else {"name": entry}
        if "name" not in entry or set(entry) - {"name", "value", "colour"}:
            raise UserError(f"{path}: class {place} is {entry}; it takes name, value and colour.")
        listed.append(str(entry["name"]))
        values.append(_whole(path, entry.get("value", place)))
        if "colour" in entry:
            colours.append(_colour(path, entry["colour"]))
    if colours and len(colours) < len(listed):
        raise UserError(f"{path}: {len(colours)} of {len(listed)} classes have a colour; all of them or none must.")
    ignored = content.get("ignore", [IGNORE])
    if not isinstance(ignored, list):
        raise UserError(f"{path}: ignore is {ignored}; it must be a list.")
    found = ClassList(
        tuple(listed),
        tuple(values),
        tuple(colours) or None,
        tuple(_whole(path, value) for value in ignored if not isinstance(value, list)),
        tuple(_colour(path, value) for value in ignored if isinstance(value, list)),
        bool(content.get("others", False)),
        str(path),
    )
    return _checked(found)


def _checked(found: ClassList) -> ClassList:
    where = found.where
    if not found.names or len(found.names) > UNKNOWN:
        raise UserError(f"{where}: lists {len(found.names)} classes; 1 to {UNKNOWN} can be.")
    for what, entries in (("names", found.names), ("values", found.values), ("colours", found.colours or ())):
        twice = [entry for entry in entries if list(entries).count(entry) > 1]
        if twice:
            raise UserError(f"{where}: two classes have the {what[:-1]} {twice[0]}; {what} must differ.")
    both = set(found.values) & set(found.ignore)
    if both:
        raise UserError(f"{where}: value {both.pop()} is a class and ignored, too; take it out of one of them.")
    return found


def _whole(path: Path, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 65_536:
        raise UserError(f"{path}: {value} is no value of a mask, which are 0 to 65535.")
    return value


def _colour(path: Path, value: Any) -> Colour:
    if not (isinstance(value, list) and len(value) == 3 and all(isinstance(v, int) and 0 <= v < 256 for v in value)):
        raise UserError(f"{path}: {value} is no colour, which is a list of three numbers 0 to 255.")
    return value[0], value[1], value[2]


class Folder(Source):
    """Images and masks of the same names.

    Args:
        path: the folder.
        classes: class list; `classes.yaml`, `classes.yml` or `classes.txt` in the folder by default.
        part: list of names in the folder, without .txt; all images by default.
        images: folder of the images, below `path`.
        masks: folder of the masks, below `path`.
        suffix: what mask names have behind the image's name, such as "_L".
    """

    def __init__(
        self,
        path: str,
        classes: str | None = None,
        part: str | None = None,
        images: str = "images",
        masks: str = "masks",
        suffix: str = "",
    ) -> None:
        self.path, self.part, self.suffix = Path(path), part, suffix
        self.images, self.masks = self.path / images, self.path / masks
        self._given = [Path(classes)] if classes else [self.path / f"classes.{end}" for end in ("yaml", "yml", "txt")]
        self.label = self.path.name + (f" {part}" if part else "")

    @cached_property
    def class_list(self) -> ClassList:
        """The class list, read when it is needed.

        Raises:
            UserError: no such folder, no such list, or one that cannot be read.
        """
        if not self.path.is_dir():
            raise UserError(f"{self.path}: not found; name a folder with images and masks.")
        return read_classes(next((file for file in self._given if file.is_file()), self._given[0]))

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.class_list.names

    @property
    def palette(self) -> tuple[Colour, ...] | None:  # type: ignore[override]
        return self.class_list.colours

    def items(self) -> list[Item]:
        read = self.class_list.read
        if self.part is None:
            pairs = matched(list_images(self.images), list_images(self.masks), self.suffix, (self.images, self.masks))
            return [PairItem(name, image, mask, read) for name, image, mask in pairs]
        return [
            PairItem(name, find_image(self.images, name), find_image(self.masks, f"{name}{self.suffix}"), read)
            for name in lines(self.path / f"{self.part}.txt")
        ]
