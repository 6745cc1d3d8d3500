"""ADE20K scene parsing (Zhou et al. 2017): 20210 / 2000 images, 150 classes.

    ADEChallengeData2016/{images,annotations}/{training,validation}/ADE_{train,val}_XXXXXXXX.{jpg,png}

Value 0 of a mask is "other" and not evaluated, value k is class k - 1. Names come from `objectInfo150.txt` of the
archive. Panoptic files (`ade20k_panoptic_train.json`) are read by `CocoPanoptic`, naming `annotations` and `images`.
"""

__all__ = ["Ade20k"]

from functools import partial

from core.errors import UserError

from .images import list_images
from .items import Item, PairItem, Source, matched
from .masks import index_mask, value_table
from .public import data_folder, lines, needed

COUNT = 150


class Ade20k(Source):
    """The 150 classes of the benchmark.

    Args:
        part: training or validation.
        path: folder `ADEChallengeData2016`; below `segmentation` in $OMNIMIX_DATA or `data` by default.
    """

    def __init__(self, part: str = "training", path: str | None = None) -> None:
        if part not in ("training", "validation"):
            raise UserError(f"ADE20K: there is no part {part!r}; choose training or validation.")
        self.part, self.path = part, data_folder("ADEChallengeData2016", path)
        self.label = f"ADE20K {part}"

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        """The first name of each class; numbers where the list is missing."""
        info = self.path / "objectInfo150.txt"
        if not info.is_file():
            return tuple(f"class {n}" for n in range(1, COUNT + 1))
        rows = [line.split("\t")[-1].split()[-1] if "\t" not in line else line.split("\t")[-1] for line in lines(info)]
        names = tuple(row.split(",")[0].strip() for row in rows[-COUNT:])
        if len(names) < COUNT:
            raise UserError(f"{info}: lists {len(names)} classes, not {COUNT}; copy it again.")
        return names

    def items(self) -> list[Item]:
        record = "ADEChallengeData2016.zip (http://sceneparsing.csail.mit.edu)"
        images = list_images(needed(self.path / "images" / self.part, record))
        masks = list_images(needed(self.path / "annotations" / self.part, record))
        read = partial(index_mask, table=value_table({k: k - 1 for k in range(1, COUNT + 1)}, (0,)))
        return [PairItem(name, image, mask, read) for name, image, mask in matched(images, masks)]
