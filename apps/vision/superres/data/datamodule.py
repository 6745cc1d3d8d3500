"""Images to batches for training, evaluation and prediction."""

__all__ = ["PairDataset", "SuperResolutionData", "WholeImage"]

from typing import TypedDict

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from core.errors import UserError
from core.training.draws import Draws, generator
from core.training.loader import ResumableLoader

from .crops import Crops, Files, Memory, Store, as_is
from .degradation import Degradation
from .pairs import Item, Pair, make_pair
from .sources import Images, Source


class WholeImage(TypedDict):
    """One image to test on.

    Its number in the part, lr (1, 3, h, w) and hr (1, 3, s h, s w) in [0, 1], its name, whether it is coded in gray.
    """

    index: int
    lr: Tensor
    hr: Tensor
    name: str
    gray: bool


class PairDataset(Dataset[WholeImage]):
    """Whole images, decoded when asked for.

    Args:
        items: of a source.
        scale: between the sizes.
        degradation: makes the small images (of those that come without), the same ones every time.
    """

    def __init__(self, items: list[Item], scale: int, degradation: Degradation | None = None):
        self.items, self.scale, self.degradation = items, scale, degradation

    def __len__(self) -> int:
        return len(self.items)

    def pair(self, index: int) -> Pair:
        """Pixels as uint8 (H, W, 3), for metrics and pictures."""
        item = self.items[index]
        pair = make_pair(item, self.scale)
        if self.degradation and item.small() is None:
            lr, hr = self.degradation(pair.hr, self.scale, generator(0, index))
            pair = pair._replace(lr=lr, hr=hr)
        return pair

    def __getitem__(self, index: int) -> WholeImage:
        pair = self.pair(index)
        return {"index": index, "lr": _batch(pair.lr), "hr": _batch(pair.hr), "name": pair.name, "gray": pair.gray}


class SuperResolutionData(pl.LightningDataModule):
    """Patches of a source (`train`) or of your own folder (`path`), whole images for validation and test.

    Without a `validation` source every tenth training image (at least one, at most twenty) is held out; without a
    `test` source the validation images are the test.

    Args:
        train: images to train on.
        validation: images to choose the checkpoint on.
        test: images of the evaluation.
        path: your own folder of images; goes before `train`.
        lr_path: the folder of their small versions, if you have them.
        files: images and folders of images that predict enlarges.
        scale: how much larger, 1 for restoration at one size.
        patch: side of a training patch in pixels of the small image.
        batch_size: patches in a step.
        steps: in an epoch.
        degradation: makes small images like a camera does, for training and validation; the test stays bicubic.
        shuffle_colours: red, green and blue of a training patch in any order: more to learn from few images.
        memory_mb: what decoded training images may take; beyond it they are decoded at every draw, which needs workers.
        workers: loader processes; without degradation and with images in memory none is fastest.
    """

    def __init__(
        self,
        train: Source | None = None,
        validation: Source | None = None,
        test: Source | None = None,
        path: str | None = None,
        lr_path: str | None = None,
        files: list[str] | None = None,
        scale: int = 4,
        patch: int = 48,
        batch_size: int = 16,
        steps: int = 1000,
        degradation: Degradation | None = None,
        shuffle_colours: bool = False,
        memory_mb: int = 4000,
        workers: int = 0,
    ):
        super().__init__()
        if path is not None:
            train = Images(path, lr_path)
        elif lr_path is not None:
            raise UserError(f"--data.lr_path {lr_path}: needs the originals in --data.path.")
        if scale < 1 or batch_size < 1 or steps < 1:
            raise UserError(f"--data: scale {scale}, batch_size {batch_size} and steps {steps} must be at least 1.")
        self.files = files or []
        if train is None and validation is None and test is None and not files:
            raise UserError("--data: name a folder of images with --data.path, or a set with --data.train.")
        self.train, self.validation, self.test = train, validation, test
        self.scale, self.patch, self.batch_size, self.steps = scale, patch, batch_size, steps
        self.degradation, self.memory_mb, self.workers = degradation, memory_mb, workers
        self.shuffle_colours = shuffle_colours
        self.parts: dict[str, PairDataset] = {}
        self._items: dict[str, list[Item]] = {}
        self._store: Store | None = None

    @property
    def label(self) -> str:
        """The test data in a word."""
        source = self.test or self.validation or self.train
        return source.label if source else "your files"

    def items(self, name: str) -> list[Item]:
        """The images of train, validation or test, listed once.

        Raises:
            UserError: there are none.
        """
        if name not in self._items:
            self._items[name] = self._listed(name)
        return self._items[name]

    def _listed(self, name: str) -> list[Item]:
        if name == "test":
            return self.test.items(self.scale) if self.test else self.items("validation")
        if name == "validation" and self.validation:
            return self.validation.items(self.scale)
        if name not in ("train", "validation"):
            raise ValueError(f"SuperResolutionData: part {name!r} is not one of train, validation, test.")
        if self.train is None:
            raise UserError(f"--data: there are no {name} images; name a folder with --data.path or a set.")
        items = self.train.items(self.scale)
        if self.scale == 1 and self.degradation is None and items[0].small() is None:
            raise UserError(
                f"{self.train.label}: at --data.scale 1 an image is its own small version; give --data.lr_path or "
                "--data.degradation."
            )
        if self.validation:
            return items
        if len(items) < 2:
            raise UserError(f"{self.train.label}: holds one image; add more, or name --data.validation.")
        held = set(range(0, len(items), max(10, -(-len(items) // 20))))
        return [item for n, item in enumerate(items) if (n in held) == (name == "validation")]

    def part(self, name: str) -> PairDataset:
        """Whole images of train, validation or test: a dataset of `WholeImage`, `pair(n)` for pixels."""
        if name not in self.parts:
            degradation = None if name == "test" else self.degradation
            self.parts[name] = PairDataset(self.items(name), self.scale, degradation)
        return self.parts[name]

    def store(self) -> Store:
        """The training images, decoded once if they fit."""
        if self._store is None:
            items, scale = self.items("train"), self.scale
            room = self.memory_mb * 2**20
            # Two tenths above the originals are the small images of scale 2 and up; a degraded set needs none.
            needed = 1.25 * 3 * sum(h * w for h, w in (item.size() for item in items))
            self._store = Memory([make_pair(item, scale) for item in items]) if needed < room else Files(items, scale)
        return self._store

    def crops(self, seed: int) -> Crops:
        """Random training patches of one seed."""
        return Crops(self.store(), self.patch, self.scale, seed, self.degradation, self.shuffle_colours)

    def loader(self, part: PairDataset) -> DataLoader:
        """Whole images one by one, in order."""
        return ResumableLoader(part, batch_size=1, collate_fn=_only)

    def train_dataloader(self) -> DataLoader:
        return ResumableLoader(
            self.crops(int(torch.initial_seed() % 2**31)),
            batch_size=self.batch_size,
            sampler=Draws(self.batch_size * self.steps),
            collate_fn=as_is,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )

    def val_dataloader(self) -> DataLoader:
        return self.loader(self.part("validation"))

    def test_dataloader(self) -> DataLoader:
        return self.loader(self.part("test"))

    def describe(self) -> str:
        """Names and sizes for the first line of a run."""
        if not (self.train or self.validation or self.test):
            return f"{len(self.files or [])} files or folders, x{self.scale}"
        train = f"{self.train.label}, {len(self.items('train'))} images, " if self.train else ""
        patches = f"patches {self.patch} -> {self.patch * self.scale}" if self.train else f"x{self.scale}"
        validation = f"validation {len(self.items('validation'))}, " if self.train or self.validation else ""
        return f"{train}{patches}; {validation}test {len(self.items('test'))} images"


def _only(samples: list[WholeImage]) -> WholeImage:
    return samples[0]


def _batch(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float().div_(255)[None]
