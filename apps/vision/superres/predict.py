"""A user's images in, enlarged images out: depth, transparency, grayness and colour profile are kept."""

__all__ = ["predict"]

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Dataset

from apps.vision.superres.data.alpha import bleed, enlarge_alpha
from apps.vision.superres.data.datamodule import SuperResolutionData
from apps.vision.superres.data.images import (
    ENDINGS,
    Picture,
    check_format,
    from_tensor,
    read_image,
    to_tensor,
    write_image,
)
from apps.vision.superres.data.pairs import list_images
from apps.vision.superres.task import SuperResolutionTask
from core.errors import UserError
from core.training.files import refuse_existing


def predict(
    task: SuperResolutionTask, trainer: pl.Trainer, data: SuperResolutionData, ckpt_path: str | None, out: Path
) -> None:
    """Enlarges `--data.files`: one file to the file `out`, several into the folder `out` as NAME_x4.png.

    Images are done one after the other, each in tiles that fit the task's memory budget, and written as they are done.

    Raises:
        UserError: no files, a file that cannot be read, results that exist already.
    """
    if not data.files:
        raise UserError("predict needs --data.files: images or folders of images.")
    task.restore_facts(ckpt_path)
    scale = data.scale
    task.prepare(scale)
    files = listed(data.files)
    single = len(files) == 1 and out.suffix.lower() in ENDINGS
    targets = [out] if single else [out / f"{path.stem}_x{scale}.png" for path in files]
    for n, target in enumerate(targets):
        if target in targets[:n]:
            raise UserError(f"{files[n]}: would be written to {target} like an earlier file; enlarge it separately.")
        refuse_existing(target, trainer.overwrite)
    if single:
        check_format(out, read_image(files[0]), scale)
    pictures = Pictures(files, targets, scale)
    loader = DataLoader(pictures, batch_size=1, collate_fn=lambda samples: samples[0])
    trainer.callbacks.append(Writer(pictures))
    trainer.forecasts(task, loader, ckpt_path, keep=False)
    if trainer.is_global_zero:
        print(f"{out}: {len(files)} image{'s' if len(files) > 1 else ''}, {scale} times larger")


def listed(names: list[str]) -> list[Path]:
    """Files as named, folders as the images in them."""
    files = []
    for path in map(Path, names):
        files += list_images(path) if path.is_dir() else [path]
    return files


class Pictures(Dataset):
    """Files as batches of one; the picture read last is kept for what its result needs from it.

    Args:
        files: to read.
        targets: to write.
        scale: between them.
    """

    def __init__(self, files: list[Path], targets: list[Path], scale: int):
        self.files, self.targets, self.scale = files, targets, scale
        self.read: dict[int, Picture] = {}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        picture = read_image(self.files[index])
        self.read[index] = picture
        if picture.alpha is not None:
            # Hidden pixels hold any colour, which would bleed into the visible ones.
            picture = Picture(bleed(picture.pixels, picture.alpha), None, picture.gray)
        return {"lr": to_tensor(picture), "index": index, "progress": str(self.files[index].name)}

    def write(self, index: int, result: torch.Tensor) -> None:
        """The result of a file, in its depth and with its alpha and profile."""
        source = self.read.pop(index)
        height, width = (side * self.scale for side in source.pixels.shape[:2])
        alpha = None if source.alpha is None else enlarge_alpha(source.alpha, (height, width))
        write_image(self.targets[index], from_tensor(result, source, alpha))


class Writer(pl.Callback):
    """Writes each result when it is there, so that memory does not grow with the number of files."""

    def __init__(self, pictures: Pictures):
        self.pictures = pictures

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        self.pictures.write(batch["index"], outputs["result"])
