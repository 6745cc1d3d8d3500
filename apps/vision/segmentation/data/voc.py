"""Pascal VOC 2012 (Everingham et al. 2010): 1464 / 1449 images, 20 classes and background, borders of objects ignored.

`VOCdevkit/VOC2012/{JPEGImages,SegmentationClass}` and `ImageSets/Segmentation/{train,val,trainval}.txt`. The larger
training set of 10582 images (Hariharan et al. 2011) has its masks in `SegmentationClassAug` and a list of its own.
"""

__all__ = ["PascalVoc"]

from functools import partial

from .items import Item, PairItem, Source
from .masks import IGNORE, index_mask, value_table, voc_palette
from .public import data_folder, lines, needed


class PascalVoc(Source):
    """Palette masks, 21 classes.

    Args:
        part: list in ImageSets/Segmentation.
        masks: folder of the masks.
        path: folder that holds JPEGImages; `segmentation/VOCdevkit/VOC2012` below $OMNIMIX_DATA or `data` by default.
    """

    classes = (
        "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
        "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
    )  # fmt: skip
    palette = voc_palette(21)

    def __init__(self, part: str = "train", masks: str = "SegmentationClass", path: str | None = None) -> None:
        self.part, self.masks, self.path = part, masks, data_folder("VOCdevkit/VOC2012", path)
        self.label = f"Pascal VOC 2012 {part}"

    def items(self) -> list[Item]:
        folder = needed(self.path, "VOCtrainval_11-May-2012.tar (http://host.robots.ox.ac.uk/pascal/VOC/voc2012)")
        read = partial(index_mask, table=value_table(len(self.classes), (IGNORE,)))
        names = [line.split()[0] for line in lines(folder / "ImageSets" / "Segmentation" / f"{self.part}.txt")]
        return [
            PairItem(name, folder / "JPEGImages" / f"{name}.jpg", folder / self.masks / f"{name}.png", read)
            for name in names
        ]
