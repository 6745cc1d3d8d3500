"""Cityscapes (Cordts et al. 2016): 2975 / 500 / 1525 street scenes of 1024 x 2048, 19 classes, 8 of them things.

    leftImg8bit/{train,val,test}/CITY/NAME_leftImg8bit.png
    gtFine/{train,val}/CITY/NAME_gtFine_{labelIds,instanceIds}.png

The 34 label numbers are mapped to the 19 here, so that nothing has to be generated. Instances come from `instanceIds`:
from 1000 on a value is 1000 * label + number, below it is a label whose objects are not told apart, a crowd for
things; this is what the panoptic JSON is made of, too.
"""

__all__ = ["Cityscapes"]

from functools import partial
from pathlib import Path

import numpy as np
import torch

from core.errors import UserError

from .images import image_size, list_images, read_image
from .items import Item, PairItem, Scene, Source, fits, matched
from .masks import IGNORE, UNKNOWN, index_mask, read_mask, value_table
from .public import data_folder, needed

# Label numbers of the 19 classes; the other numbers of 0 .. 33 are void.
NUMBERS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
RECORD = "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip (https://www.cityscapes-dataset.com)"


class Cityscapes(Source):
    """The finely annotated images.

    Args:
        part: train, val or test (whose truth is not public).
        panoptic: tell objects apart.
        path: folder of the set; `segmentation/cityscapes` below $OMNIMIX_DATA or `data` by default.
    """

    classes = (
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    )  # fmt: skip
    things = tuple(range(11, 19))
    palette = (
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
        (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0),
        (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    )  # fmt: skip

    def __init__(self, part: str = "train", panoptic: bool = False, path: str | None = None) -> None:
        if part not in ("train", "val", "test"):
            raise UserError(f"Cityscapes: there is no part {part!r}; choose train, val or test.")
        self.part, self.panoptic, self.path = part, panoptic, data_folder("cityscapes", path)
        self.label = f"Cityscapes {part}"

    def items(self) -> list[Item]:
        images = needed(self.path / "leftImg8bit" / self.part, RECORD)
        truth = needed(self.path / "gtFine" / self.part, RECORD)
        kind = "instanceIds" if self.panoptic else "labelIds"
        masks = sorted(truth.rglob(f"*_gtFine_{kind}.png"))
        pairs = matched_frames(list_images(images), masks, kind)
        if self.panoptic:
            return [_Instances(name, image, mask) for name, image, mask in pairs]
        read = partial(index_mask, table=number_table())
        return [PairItem(name, image, mask, read) for name, image, mask in pairs]


def matched_frames(images: list[Path], masks: list[Path], kind: str) -> list[tuple[str, Path, Path]]:
    """Pairs by CITY_SEQUENCE_FRAME."""
    renamed = {path.with_name(path.name.replace("_leftImg8bit", "")): path for path in images}
    return [(name, renamed[path], mask) for name, path, mask in matched(list(renamed), masks, f"_gtFine_{kind}")]


def number_table() -> np.ndarray:
    """From label numbers (and -1, a licence plate, as files of 16 bits hold it) to classes."""
    void = [n for n in range(34) if n not in NUMBERS]
    return value_table({number: place for place, number in enumerate(NUMBERS)}, (*void, IGNORE, 65_535))


class _Instances(Item):
    def __init__(self, name: str, image: Path, mask: Path) -> None:
        self.name, self.image, self.mask = name, image, mask

    def size(self) -> tuple[int, int]:
        return image_size(self.image)

    def load(self) -> Scene:
        raw = read_mask(self.mask).astype(np.int64)
        values, places = np.unique(raw, return_inverse=True)
        numbers = np.where(values >= 1000, values // 1000, values)
        classes = number_table()[np.where((numbers < 0) | (numbers > 65_535), 65_535, numbers)]
        if (classes == UNKNOWN).any():
            wrong = int(values[classes == UNKNOWN][0])
            raise UserError(f"{self.mask}: holds the value {wrong}, which is no label of Cityscapes; copy it again.")
        real = classes != IGNORE
        table = np.where(real, np.cumsum(real) - 1, -1).astype(np.int32)
        kinds = torch.from_numpy(classes[real].astype(np.int64))
        crowd = torch.from_numpy(values[real] < 1000) & torch.isin(kinds, torch.tensor(Cityscapes.things))
        image, segments = read_image(self.image), torch.from_numpy(table[places.reshape(raw.shape)])
        fits(image, segments, self.image, self.mask)
        return Scene(image, None, segments, kinds, crowd, self.name)
