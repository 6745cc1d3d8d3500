"""Images and masks to batches for training, evaluation and prediction; `items` says what a batch is."""

__all__ = ["SegmentationData", "Training", "Views"]

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from core.errors import UserError
from core.training.draws import Draws, generator
from core.training.loader import ResumableLoader

from .folders import Folder
from .images import list_images
from .items import Item, PairItem, Scene, Source, collate
from .masks import IGNORE, Colour
from .statistics import Counts, count
from .transforms import Augmentation, listed

Numbered = tuple[int, Scene]
COUNTING = partial(tqdm, desc="masks", leave=False)


class Views(Dataset[Numbered]):
    """Scenes of a part in order, as they are.

    Args:
        items: of a source.
        memory_mb: what decoded scenes may take; those beyond it are decoded every time.
    """

    def __init__(self, items: list[Item], memory_mb: int = 0) -> None:
        self.items = items
        self._kept: dict[int, Scene] = {}
        self._room = memory_mb * 2**20

    def __len__(self) -> int:
        return len(self.items)

    def scene(self, index: int) -> Scene:
        """As the source gives it; kept in memory while there is room."""
        if index in self._kept:
            return self._kept[index]
        scene = self.items[index].load()
        size = sum(x.nbytes for x in scene if isinstance(x, torch.Tensor))
        if size <= self._room:
            self._room -= size
            self._kept[index] = scene
        return scene

    def __getitem__(self, index: int) -> Numbered:
        return index, self.scene(index)


class Training(Dataset[Numbered]):
    """Scenes in an order drawn for every epoch, augmented; sample n is a function of (seed, n).

    Args:
        part: the scenes.
        seed: of the run.
        crop: height and width of a sample; None for whole images, which then must have one size.
        augmentation: or None.
    """

    def __init__(self, part: Views, seed: int, crop: tuple[int, int] | None, augmentation: Augmentation | None) -> None:
        self.part, self.seed, self.crop, self.augmentation = part, seed, crop, augmentation
        self._order: tuple[int, list[int]] = (-1, [])

    def __getitem__(self, number: int) -> Numbered:
        passes, place = divmod(number, len(self.part))
        if self._order[0] != passes:
            self._order = passes, generator(self.seed, 2**63 + passes).permutation(len(self.part)).tolist()
        index = self._order[1][place]
        scene, rng = self.part.scene(index), generator(self.seed, number)
        if self.augmentation is None and self.crop is None:
            return index, listed(scene)
        return index, (self.augmentation or PLAIN)(scene, rng, self.crop)


# A random window, and nothing else.
PLAIN = Augmentation(scale=(1.0, 1.0), flip=0.0, brightness=0.0, contrast=0.0, saturation=0.0)


class SegmentationData(pl.LightningDataModule):
    """Crops of a source (`train`) or of your own folder (`path`), whole images for validation and test.

    Without a `validation` source every tenth training image (at least one) is held out; without a `test` source the
    validation images are the test. All sources must have the same classes. Whole images come one at a time, since they
    may differ in size.

    Args:
        train: images to train on.
        validation: images to choose the checkpoint on.
        test: images of the evaluation.
        path: your own folder of images, masks and a class list; goes before `train`.
        files: images and folders of images to predict; then the other sources are not asked, so that a checkpoint
            predicts where its training data is not.
        crop: height and width of a training sample; None for whole images.
        augmentation: of training images.
        batch_size: samples in a training step.
        repeats: times that each image is seen in an epoch.
        memory_mb: what decoded images may take, in each loader process and part.
        workers: loader processes.
    """

    def __init__(
        self,
        train: Source | None = None,
        validation: Source | None = None,
        test: Source | None = None,
        path: str | None = None,
        files: list[str] | None = None,
        crop: tuple[int, int] | None = (512, 512),
        augmentation: Augmentation | None = None,
        batch_size: int = 8,
        repeats: int = 1,
        memory_mb: int = 2000,
        workers: int = 0,
    ) -> None:
        super().__init__()
        if min(batch_size, repeats) < 1 or min(workers, memory_mb) < 0:
            raise UserError(
                f"--data: batch_size {batch_size} and repeats {repeats} must be at least 1, memory_mb {memory_mb} and "
                f"workers {workers} not negative."
            )
        if crop is not None and min(crop) < 1:
            raise UserError(f"--data.crop {list(crop)}: sides must be at least 1.")
        if files:
            train = validation = test = None
        elif path is not None:
            train = Folder(path)
        if train is None and validation is None and test is None and not files:
            raise UserError("--data: name a folder with --data.path or --data.files, or a set with --data.train.")
        self.train, self.validation, self.test, self.files = train, validation, test, files or []
        self.crop, self.augmentation = crop if crop is None else (crop[0], crop[1]), augmentation
        self.batch_size, self.repeats, self.memory_mb, self.workers = batch_size, repeats, memory_mb, workers
        self._parts: dict[str, Views] = {}
        self._check()

    def _check(self) -> None:
        named = [source for source in (self.train, self.validation, self.test) if source is not None]
        # Sources whose files are missing say so when they are listed, with where to get them.
        for source in named[1:]:
            if source.classes != named[0].classes:
                raise UserError(
                    f"--data: {named[0].label} has {len(named[0].classes)} classes ({_first(named[0].classes)}), "
                    f"{source.label} {len(source.classes)} ({_first(source.classes)}); they must be the same "
                    "(null drops a source of a recipe)."
                )

    @property
    def source(self) -> Source:
        """The one that says what classes there are."""
        return self.train or self.validation or self.test or Source()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names; a class is its place here. Empty where there are only files to predict."""
        return self.source.classes

    @property
    def things(self) -> tuple[int, ...]:
        """Classes whose objects are told apart."""
        return self.source.things

    @property
    def palette(self) -> tuple[Colour, ...] | None:
        """A colour for each class, where the source has them."""
        return self.source.palette

    @property
    def ignore(self) -> int:
        """The label of pixels that do not count."""
        return IGNORE

    @property
    def label(self) -> str:
        """The test data in a word; a tenth of a set is not the set that numbers are published for."""
        if not self.classes:
            return "your files"
        given = self.test or self.validation
        return given.label if given is not None else f"a tenth of {self.source.label}"

    def part(self, name: str) -> Views:
        """Scenes of train, validation or test, or those that `files` name (part "files"), listed once.

        Raises:
            UserError: there are none.
        """
        if name not in self._parts:
            items = self._listed(name)
            if not items:
                raise UserError(f"--data: the {name} images are none; name another source.")
            self._parts[name] = Views(items, self.memory_mb)
        return self._parts[name]

    def _listed(self, name: str) -> list[Item]:
        if name == "files":
            return self.pictures()
        if name == "test":
            if self.test is not None:
                return self.test.items()
            name = "validation"
        if name == "validation" and self.validation is not None:
            return self.validation.items()
        if name not in ("train", "validation"):
            raise ValueError(f"SegmentationData: part {name!r} is not one of train, validation, test, files.")
        if self.train is None:
            raise UserError(f"--data: there are no {name} images; name them with --data.{name} or --data.path.")
        items = self.train.items()
        if self.validation is not None:
            return items
        if len(items) < 2:
            raise UserError(f"{self.train.label}: holds one image; add more, or name --data.validation.")
        return [item for n, item in enumerate(items) if (n % 10 == 0) == (name == "validation")]

    def pictures(self) -> list[Item]:
        """What `files` name, for prediction: folders as the images in them."""
        paths = [found for name in self.files for found in (list_images(name) if Path(name).is_dir() else [Path(name)])]
        return [PairItem(path.stem, path) for path in paths]

    def counts(self, name: str = "train", show: Callable[[Iterable], Iterable] = COUNTING) -> Counts:
        """Pixels of each class in a part, every mask being read and checked on the way."""
        part = self.part(name)
        return count((part.scene(n) for n in show(range(len(part)))), len(self.classes))

    def training(self, seed: int) -> Training:
        """Endless samples of one seed."""
        return Training(self.part("train"), seed, self.crop, self.augmentation)

    @property
    def steps(self) -> int:
        """Of an epoch. Every batch is full: a single image is no sample for the statistics of batch norm."""
        return -(-len(self.part("train")) * self.repeats // self.batch_size)

    def train_dataloader(self) -> DataLoader:
        return ResumableLoader(
            self.training(int(torch.initial_seed() % 2**31)),
            batch_size=self.batch_size,
            sampler=Draws(self.steps * self.batch_size),
            collate_fn=collate,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )

    def loader(self, part: Views) -> DataLoader:
        """Whole images one by one, in order."""
        return ResumableLoader(part, batch_size=1, collate_fn=collate, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader:
        return self.loader(self.part("validation"))

    def test_dataloader(self) -> DataLoader:
        return self.loader(self.part("test"))

    def predict_dataloader(self) -> DataLoader:
        return self.loader(self.part("files"))

    def describe(self) -> str:
        """Names and sizes for the first line of a run."""
        if not self.classes:
            return f"{len(self.files)} files or folders"
        train = f"{self.train.label}, {len(self.part('train'))} images; " if self.train else ""
        held = f"validation {len(self.part('validation'))}, " if self.train or self.validation else ""
        return f"{train}{held}test {len(self.part('test'))} images; {len(self.classes)} classes"


def _first(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
