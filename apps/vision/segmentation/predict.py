"""A user's images in, class maps and coloured overlays out."""

__all__ = ["predict"]

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from PIL import Image

from apps.vision.segmentation.data.datamodule import SegmentationData, Views
from apps.vision.segmentation.data.items import PairItem
from apps.vision.segmentation.data.masks import Colour, voc_palette, write_mask
from apps.vision.segmentation.models import Panoptic
from apps.vision.segmentation.pictures import overlay
from apps.vision.segmentation.task import Seen, SegmentationTask
from core.errors import UserError
from core.training.files import refuse_existing, writing


def predict(
    task: SegmentationTask, trainer: pl.Trainer, data: SegmentationData, ckpt_path: str | None, out: Path
) -> None:
    """Segments `--data.files` and writes into the folder `out`, for each image as it is done:

    NAME.png             palette PNG of class numbers
    NAME_overlay.png     classes coloured over the image
    NAME_segments.png    from networks that tell objects apart: segment numbers, R + 256 G + 65536 B, 0 nothing
    NAME_segments.json   what the numbers are: id, class and score of each

    Raises:
        UserError: no files, a file that cannot be read, results that exist already or would take the place of another
            image.
    """
    if not data.files:
        raise UserError("predict needs --data.files: images or folders of images.")
    if out.suffix:
        raise UserError(f"--out {out}: is a file name; name a folder, there are several files an image.")
    task.restore_facts(ckpt_path)
    task.prepare(data)
    part = data.part("files")
    names = [item.name for item in part.items]
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise UserError(f"{min(twice)}: two images have this name; predict them one folder at a time.")
    results = [f"{name}{end}" for name in names for end in ("", "_overlay", "_segments")]
    if twice := [name for name, times in Counter(results).items() if times > 1]:
        raise UserError(f"{min(twice)}: is an image and a result of another one; predict them one at a time.")
    inputs = {item.image.resolve() for item in part.items if isinstance(item, PairItem)}
    for name in results:
        if (out / f"{name}.png").resolve() in inputs:
            raise UserError(f"--out {out}: {name}.png there is one of --data.files; name another folder.")
    for name in names:
        refuse_existing(out / f"{name}.png", trainer.overwrite)  # type: ignore[attr-defined]
    trainer.callbacks.append(Writer(out, part, task.facts))  # type: ignore[attr-defined]
    trainer.forecasts(task, data.loader(part), ckpt_path, keep=False)  # type: ignore[attr-defined]
    if trainer.is_global_zero:
        print(f"{out}: {len(names)} image{'s' if len(names) > 1 else ''}, class map and overlay of each")


class Writer(pl.Callback):
    """Writes each result when it is there, so that memory does not grow with the number of files.

    Args:
        out: folder.
        part: the images.
        facts: of the checkpoint: classes, palette.
    """

    def __init__(self, out: Path, part: Views, facts: dict[str, Any]) -> None:
        self.out, self.part, self.names = out, part, facts["classes"]
        given = facts["palette"]
        self.colours: list[Colour] = [(c[0], c[1], c[2]) for c in given] if given else [*voc_palette(len(self.names))]

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Seen,  # type: ignore[override]
        batch: Any,
        *args: Any,
    ) -> None:
        """Of one image."""
        name, classes = batch["name"][0], outputs.classes.numpy().astype(np.uint8)
        image = (batch["image"][0] * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        if outputs.panoptic is not None:
            self._segments(name, outputs.panoptic)
        _write(self.out / f"{name}_overlay.png", overlay(image, classes, self.colours))
        # Last: where it is, the image is done.
        write_mask(self.out / f"{name}.png", classes, self.colours)

    def _segments(self, name: str, found: Panoptic) -> None:
        ids = (found.segments + 1).numpy()
        _write(
            self.out / f"{name}_segments.png",
            np.stack([ids >> shift & 255 for shift in (0, 8, 16)], 2).astype(np.uint8),
        )
        rows = [
            {"id": n + 1, "class": self.names[kind], "score": round(score, 4)}
            for n, (kind, score) in enumerate(zip(found.kinds.tolist(), found.scores.tolist(), strict=True))
        ]
        with writing(self.out / f"{name}_segments.json") as path:
            path.write_text(json.dumps({"image": name, "segments": rows}, indent=1) + "\n")


def _write(path: Path, pixels: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    with writing(path) as beside:
        beside.write_bytes(buffer.getvalue())
