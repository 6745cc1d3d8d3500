"""Sweeps and boxes to batches for training, evaluation and prediction. All batches are the same dictionary:

    points  Ragged: tokens (N, 3 + F) float32, offsets (B + 1,) int64; a sample may have no points
    boxes   Ragged: tokens (M, 7 or 9) float32, offsets (B + 1,); a sample may have no boxes
    labels  (M,) int64, position in `classes`
    frames  list of B `Frame`s without their points: names, calibration and truth for the metrics
    index   list of B numbers in the part

Points are those within `point_range` whose numbers are finite. Boxes are those of `classes` whose centre is within the
range, in training also with at least `least_points` points; headings are in [-pi, pi).
"""

__all__ = ["Batch", "DetectionData", "collate"]

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypedDict

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from apps.pointcloud.boxes import points_in_boxes, wrap
from apps.pointcloud.ranges import check_range
from core.errors import UserError
from core.layout import Ragged
from core.training.draws import Draws, generator
from core.training.loader import ResumableLoader

from .augment import Augmentation, Database, database_of
from .checks import Survey, check_names, clean, inside_range, survey
from .clouds import list_clouds
from .folders import Folder
from .items import FileItem, Frame, Item, Source


class Batch(TypedDict):
    """See the module."""

    points: Ragged
    boxes: Ragged
    labels: Tensor
    frames: list[Frame]
    index: list[int]


class Sample(TypedDict):
    """One frame of a batch."""

    points: Tensor
    boxes: Tensor
    labels: Tensor
    frame: Frame
    index: int


class Sweeps(Dataset[Sample]):
    """Frames of a part in order, as they are.

    Args:
        data: whose range and classes hold.
        items: of the source.
        known: every class of the source, or None.
    """

    def __init__(self, data: "DetectionData", items: list[Item], known: tuple[str, ...] | None):
        self.data, self.items, self.known = data, items, known
        self._kept: dict[int, Frame] = {}
        self._room = data.memory_mb * 2**20

    def __len__(self) -> int:
        return len(self.items)

    def frame(self, index: int) -> Frame:
        """As the source gives it, with its names checked; kept in memory while there is room."""
        if index in self._kept:
            return self._kept[index]
        frame = self.items[index].load()
        if frame.points.shape[1] < 3 + self.data.features:
            raise UserError(
                f"{self.items[index].name}: its points have {frame.points.shape[1] - 3} features beside x, y and z, "
                f"--data.features is {self.data.features}; lower it."
            )
        check_names(frame, self.data.classes, self.known, self.data.ignored)
        frame = frame._replace(points=clean(frame.points)[:, : 3 + self.data.features].contiguous())
        size = frame.points.numel() * 4
        if size <= self._room:
            self._room -= size
            self._kept[index] = frame
        return frame

    def __getitem__(self, index: int) -> Sample:
        return self.data.sample(self.frame(index), index, least=0)


class Training(Dataset[Sample]):
    """Frames in an order drawn for every epoch, augmented; sample n is a function of (seed, n).

    Args:
        part: the frames.
        seed: of the run.
        database: of objects to paste, or None.
        epochs: of the run; the last ones go without pasting.
    """

    def __init__(self, part: Sweeps, seed: int, database: Database | None, epochs: int):
        self.part, self.seed, self.database, self.epochs = part, seed, database, epochs
        self._order: tuple[int, list[int]] = (-1, [])

    def __getitem__(self, number: int) -> Sample:
        data, count = self.part.data, len(self.part)
        passes, place = divmod(number, count)
        if self._order[0] != passes:
            self._order = passes, generator(self.seed, 2**63 + passes).permutation(count).tolist()
        index = self._order[1][place]
        frame = self.part.frame(index)
        if data.augmentation is not None:
            late = number // (count * data.repeats) >= self.epochs - data.augmentation.last
            frame = data.augmentation(frame, generator(self.seed, number), None if late else self.database)
        return data.sample(frame, index, least=data.least_points)


class DetectionData(pl.LightningDataModule):
    """Frames of a source (`train`) or of your own folder (`path`).

    Without a `validation` source every tenth training frame (at least one) is held out; without a `test` source the
    validation frames are the test.

    Args:
        train: frames to train on.
        validation: frames to choose the checkpoint on.
        test: frames of the evaluation.
        path: your own folder of sweeps and labels; goes before `train`.
        files: sweeps and folders of sweeps that predict looks at.
        classes: what is detected; a box's label is its position here.
        ignored: classes that may occur beside them and those that the source knows.
        point_range: least x, y, z and greatest x, y, z in metres.
        features: numbers of a point beside x, y, z that the network sees, the first of those it has.
        velocity: boxes have 9 columns, NaN where the speed is unknown.
        columns: float32 numbers a point of .bin files in `path` and `files`.
        least_points: a box with fewer points is not trained on.
        augmentation: of training frames.
        batch_size: frames in a step.
        repeats: times that each frame is seen in an epoch.
        memory_mb: what decoded frames may take, in each loader process and part.
        workers: loader processes.
    """

    def __init__(
        self,
        train: Source | None = None,
        validation: Source | None = None,
        test: Source | None = None,
        path: str | None = None,
        files: list[str] | None = None,
        classes: tuple[str, ...] = ("Car", "Pedestrian", "Cyclist"),
        ignored: tuple[str, ...] = (),
        point_range: tuple[float, float, float, float, float, float] = (0.0, -40.0, -3.0, 70.4, 40.0, 1.0),
        features: int = 1,
        velocity: bool = False,
        columns: int = 4,
        least_points: int = 1,
        augmentation: Augmentation | None = None,
        batch_size: int = 2,
        repeats: int = 1,
        memory_mb: int = 2000,
        workers: int = 0,
    ):
        super().__init__()
        check_range(point_range)
        if min(batch_size, repeats) < 1 or min(features, least_points, workers, memory_mb) < 0:
            raise UserError(
                f"--data: batch_size {batch_size} and repeats {repeats} must be at least 1, features {features}, "
                f"least_points {least_points}, memory_mb {memory_mb} and workers {workers} not negative."
            )
        if not classes or len(set(classes)) < len(classes):
            raise UserError(f"--data.classes {list(classes)}: must be one or more different names.")
        if path is not None:
            train = Folder(path, columns=columns)
        if train is None and validation is None and test is None and not files:
            raise UserError(
                "--data: name a folder of sweeps with --data.path or --data.files, or a set with --data.train."
            )
        self.train, self.validation, self.test, self.files = train, validation, test, files or []
        self.classes, self.ignored, self.point_range = tuple(classes), tuple(ignored), tuple(point_range)
        self.features, self.velocity, self.columns, self.least_points = features, velocity, columns, least_points
        self.augmentation, self.batch_size, self.repeats = augmentation, batch_size, repeats
        self.memory_mb, self.workers = memory_mb, workers
        self._parts: dict[str, Sweeps] = {}
        self._database: Database | None = None

    @property
    def label(self) -> str:
        """The test data in a word."""
        source = self.test or self.validation or self.train
        return source.label if source else "your files"

    def part(self, name: str) -> Sweeps:
        """Frames of train, validation or test, or those that `files` name (part "files"), listed once.

        Raises:
            UserError: there are none.
        """
        if name not in self._parts:
            source, items = self._listed(name)
            self._parts[name] = Sweeps(self, items, source.classes)
        return self._parts[name]

    def _listed(self, name: str) -> tuple[Source, list[Item]]:
        if name == "files":
            return Source(), self.sweeps()
        if name == "test":
            if self.test is not None:
                return self.test, self.test.items()
            name = "validation"
        if name == "validation" and self.validation is not None:
            return self.validation, self.validation.items()
        if name not in ("train", "validation"):
            raise ValueError(f"DetectionData: part {name!r} is not one of train, validation, test, files.")
        if self.train is None:
            raise UserError(f"--data: there are no {name} frames; name them with --data.{name} or --data.path.")
        items = self.train.items()
        if self.validation is not None:
            return self.train, items
        if len(items) < 2:
            raise UserError(f"{self.train.label}: holds one frame; add more, or name --data.validation.")
        return self.train, [item for n, item in enumerate(items) if (n % 10 == 0) == (name == "validation")]

    def sweeps(self) -> list[Item]:
        """What `files` name, for prediction: folders as the sweeps in them."""
        paths = [found for name in self.files for found in _named(name)]
        return [FileItem(path, self.columns) for path in paths]

    def sample(self, frame: Frame, index: int, least: int) -> Sample:
        """What a network gets of a frame."""
        points = frame.points[inside_range(frame.points, self.point_range)]
        boxes = frame.boxes
        if self.velocity and boxes.shape[1] == 7:
            boxes = torch.cat([boxes, boxes.new_full((len(boxes), 2), float("nan"))], 1)
        boxes = boxes[:, : 9 if self.velocity else 7]
        labels = torch.tensor(
            [self.classes.index(n) if n in self.classes else -1 for n in frame.names], dtype=torch.int64
        )
        keep = (labels >= 0) & inside_range(boxes, self.point_range)
        if least:
            keep &= points_in_boxes(points, boxes).sum(0) >= least
        boxes = boxes[keep]
        boxes[:, 6] = wrap(boxes[:, 6])
        bare = frame._replace(points=frame.points[:0])
        return {"points": points, "boxes": boxes, "labels": labels[keep], "frame": bare, "index": index}

    def survey(self, name: str = "train", show: Callable[[Iterable], Iterable] = tqdm) -> Survey:
        """Counts over a part: what is out of range, empty, or of another class."""
        part = self.part(name)
        return survey((item.load() for item in show(part.items)), self.classes, self.point_range)

    def training(self, seed: int, epochs: int) -> Training:
        """Endless augmented samples of one seed; the objects to paste are cut out now, once."""
        part = self.part("train")
        if self._database is None and self.augmentation is not None and self.augmentation.paste:
            unknown = [name for name in self.augmentation.paste if name not in self.classes]
            if unknown:
                raise UserError(f"--data.augmentation.paste: {unknown[0]} is not one of {', '.join(self.classes)}.")
            frames = (part.frame(n) for n in tqdm(range(len(part)), desc="objects to paste", leave=False))
            self._database = database_of(frames, self.augmentation)
        return Training(part, seed, self._database, epochs)

    def train_dataloader(self) -> DataLoader:
        epochs = self.trainer.max_epochs if self.trainer is not None else None
        dataset = self.training(int(torch.initial_seed() % 2**31), 2**62 if epochs in (None, -1) else int(epochs or 0))
        return ResumableLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=Draws(len(dataset.part) * self.repeats),
            collate_fn=collate,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )

    def loader(self, part: Sweeps) -> DataLoader:
        """Frames in order."""
        return ResumableLoader(part, batch_size=self.batch_size, collate_fn=collate, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader:
        return self.loader(self.part("validation"))

    def test_dataloader(self) -> DataLoader:
        return self.loader(self.part("test"))

    def describe(self) -> str:
        """Names and sizes for the first line of a run."""
        if self.train is None and self.validation is None and self.test is None:
            return f"{len(self.files)} files or folders"
        train = f"{self.train.label}, {len(self.part('train'))} frames; " if self.train else ""
        held = f"validation {len(self.part('validation'))}, " if self.train or self.validation else ""
        return f"{train}{held}test {len(self.part('test'))} frames; {', '.join(self.classes)}"


def collate(samples: list[Sample]) -> Batch:
    """Frames as a batch; those without points or boxes keep their place."""
    return {
        "points": Ragged.of([sample["points"] for sample in samples]),
        "boxes": Ragged.of([sample["boxes"] for sample in samples]),
        "labels": torch.cat([sample["labels"] for sample in samples]),
        "frames": [sample["frame"] for sample in samples],
        "index": [sample["index"] for sample in samples],
    }


def _named(name: str) -> list[Path]:
    path = Path(name)
    return list_clouds(path) if path.is_dir() else [path]
