"""COCO panoptic (Lin et al. 2014, Kirillov et al. 2019), and sets in the same format such as ADE20K's panoptic files.

    annotations/panoptic_{train,val}2017.json   images, categories, and for each image its segments
    annotations/panoptic_{train,val}2017/X.png  segment numbers as R + 256 G + 65536 B, 0 is void
    {train,val}2017/X.jpg

Categories have numbers with gaps (1 .. 200 for 133 classes); classes are their places in the JSON's order. Predictions
are written in the same format: `write_predictions`. `evaluate_files` is the official evaluation of two such files.
"""

__all__ = ["CocoPanoptic", "evaluate_files", "segment_ids", "write_predictions"]

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from apps.vision.segmentation.metrics.panoptic import PanopticQuality, Segment, Summary
from core.errors import UserError
from core.training.files import writing

from .images import image_size, read_image
from .items import Item, Scene, Source, fits
from .masks import packed
from .public import data_folder, needed


class CocoPanoptic(Source):
    """Segments of a panoptic JSON.

    Args:
        part: train2017 or val2017.
        path: folder that holds `annotations`; `segmentation/coco` below $OMNIMIX_DATA or `data` by default.
        annotations: the JSON, if it has another name; its PNGs lie in the folder of the same name.
        images: folder of the images, if it has another name.
    """

    def __init__(
        self,
        part: str = "train2017",
        path: str | None = None,
        annotations: str | None = None,
        images: str | None = None,
    ) -> None:
        folder = data_folder("coco", path)
        self.json = Path(annotations) if annotations else folder / "annotations" / f"panoptic_{part}.json"
        self.images = Path(images) if images else folder / part
        self.label = f"COCO panoptic {part}" if annotations is None else self.json.stem
        self._read: dict[str, Any] | None = None

    @property
    def content(self) -> dict[str, Any]:
        """The JSON, read once."""
        if self._read is None:
            needed(self.json, "panoptic_annotations_trainval2017.zip and the images (https://cocodataset.org)")
            self._read = _json(self.json, ("images", "annotations", "categories"))
        return self._read

    @property
    def numbers(self) -> dict[int, int]:
        """Class of each category number."""
        return {category["id"]: n for n, category in enumerate(self.content["categories"])}

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(category["name"] for category in self.content["categories"])

    @property
    def things(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(n for n, category in enumerate(self.content["categories"]) if category.get("isthing"))

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...] | None:  # type: ignore[override]
        colours = [category.get("color") for category in self.content["categories"]]
        return tuple((c[0], c[1], c[2]) for c in colours) if all(colours) else None

    def items(self) -> list[Item]:
        files = {image["id"]: image["file_name"] for image in self.content["images"]}
        numbers, masks = self.numbers, self.json.with_suffix("")
        items: list[Item] = []
        for annotation in self.content["annotations"]:
            if annotation["image_id"] not in files:
                raise UserError(f"{self.json}: annotates image {annotation['image_id']}, which it does not list.")
            image = self.images / files[annotation["image_id"]]
            items.append(_Panoptic(image, masks / annotation["file_name"], annotation["segments_info"], numbers))
        if not items:
            raise UserError(f"{self.json}: holds no annotation; name another file.")
        return items


class _Panoptic(Item):
    def __init__(self, image: Path, mask: Path, segments: list[dict[str, Any]], numbers: dict[int, int]) -> None:
        self.name, self.image, self.mask, self.segments, self.numbers = image.stem, image, mask, segments, numbers

    def size(self) -> tuple[int, int]:
        return image_size(self.image)

    def load(self) -> Scene:
        ids = packed(self.mask)
        values, places = np.unique(ids, return_inverse=True)
        listed = {segment["id"]: n for n, segment in enumerate(self.segments)}
        unknown = [int(v) for v in values if v != 0 and int(v) not in listed]
        if unknown:
            raise UserError(f"{self.mask}: holds segment {unknown[0]}, which its JSON does not list; copy both again.")
        strange = [s["category_id"] for s in self.segments if s["category_id"] not in self.numbers]
        if strange:
            raise UserError(f"{self.mask}: a segment is of category {strange[0]}, which its JSON does not list.")
        table = np.array([listed.get(int(v), -1) for v in values], np.int32)
        kinds = torch.tensor([self.numbers[s["category_id"]] for s in self.segments], dtype=torch.int64)
        crowd = torch.tensor([bool(s.get("iscrowd", 0)) for s in self.segments], dtype=torch.bool)
        image, segments = read_image(self.image), torch.from_numpy(table[places.reshape(ids.shape)])
        fits(image, segments, self.image, self.mask)
        return Scene(image, None, segments, kinds, crowd, self.name)


def segment_ids(path: str | Path) -> NDArray[np.int64]:
    """(H, W) segment numbers of a panoptic PNG."""
    return packed(path).astype(np.int64)


def write_predictions(
    path: str | Path, predictions: Iterable[tuple[int, str, NDArray[np.integer], list[Segment]]]
) -> None:
    """A JSON, and the PNGs in the folder of the same name.

    Args:
        path: the JSON.
        predictions: number of the image, name of the PNG, (H, W) segment numbers (0 is void), and the segments with the
            set's own category numbers.
    """
    path, annotations = Path(path), []
    for number, name, ids, segments in predictions:
        if ids.size and (ids.min() < 0 or ids.max() >= 1 << 24):
            raise ValueError(f"write_predictions: {name} holds segment numbers outside of 0 .. 2^24 - 1.")
        rgb = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)
        with writing(path.with_suffix("") / name) as beside:
            Image.fromarray(rgb).save(beside, "PNG")
        rows = [{"id": s.id, "category_id": s.category} for s in segments]
        annotations.append({"image_id": number, "file_name": name, "segments_info": rows})
    with writing(path) as beside:
        beside.write_text(json.dumps({"annotations": annotations}), encoding="utf-8")


def evaluate_files(truth: str | Path, predictions: str | Path) -> Summary:
    """Panoptic quality as the official code computes it, areas of the truth from its JSON included.

    Args:
        truth, predictions: JSON files, each with its PNGs in the folder of the same name.

    Raises:
        UserError: an image without prediction, or files that do not fit each other.
    """
    truth, predictions = Path(truth), Path(predictions)
    real = _json(truth, ("annotations", "categories"))
    found = {row["image_id"]: row for row in _json(predictions, ("annotations",))["annotations"]}
    metric = PanopticQuality({c["id"]: bool(c["isthing"]) for c in real["categories"]})
    for row in real["annotations"]:
        other = found.get(row["image_id"])
        if other is None:
            raise UserError(f"{predictions}: has no prediction for image {row['image_id']}; predict it, too.")
        maps = [segment_ids(p.with_suffix("") / r["file_name"]) for p, r in ((truth, row), (predictions, other))]
        true = [Segment(s["id"], s["category_id"], bool(s.get("iscrowd", 0)), s["area"]) for s in row["segments_info"]]
        try:
            metric.update(
                maps[0],
                true,
                maps[1],
                [Segment(s["id"], s["category_id"]) for s in other["segments_info"]],
                where=f"{predictions}, image {row['image_id']}",
            )
        except ValueError as error:
            raise UserError(str(error)) from None
    return metric.compute()


def _json(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; check the path.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is no JSON ({error}); copy the file again.") from None
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise UserError(f"{path}: has no '{missing[0]}', as panoptic annotations have; name another file.")
    return content
