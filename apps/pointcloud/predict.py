"""A user's sweeps in, boxes out."""

__all__ = ["predict"]

import json
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch import Tensor

from apps.pointcloud.camera import pinhole
from apps.pointcloud.data.datamodule import DetectionData
from apps.pointcloud.labels import labels_of_boxes, write_labels
from apps.pointcloud.models import Detections
from apps.pointcloud.task import DetectionTask
from core.errors import UserError
from core.training.files import refuse_existing, writing

COLUMNS = ("x", "y", "z", "dx", "dy", "dz", "heading", "vx", "vy")


def predict(task: DetectionTask, trainer: pl.Trainer, data: DetectionData, ckpt_path: str | None, out: Path) -> None:
    """Detects objects in `--data.files` and writes two files a sweep into the folder `out`.

    sweep.json holds boxes in the sweep's own axes (metres, radians, centre at mid-height), sweep.txt the same as KITTI
    labels with scores, in the axes of an ideal camera at the sensor.

    Raises:
        UserError: no files, a file that cannot be read, results that exist already.
    """
    if not data.files:
        raise UserError("predict needs --data.files: sweeps (.bin, .npy, .ply, .pcd) or folders of sweeps.")
    if out.suffix:
        raise UserError(f"--out {out}: is a file name; name a folder, there are two files a sweep.")
    part = data.part("files")
    names = [item.name for item in part.items]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"{sorted(twice)[0]}: two sweeps have this name; predict them one folder at a time.")
    for name in names:
        for ending in (".json", ".txt"):
            refuse_existing(out / f"{name}{ending}", trainer.overwrite)  # type: ignore[attr-defined]
    task.restore_facts(ckpt_path)
    task.prepare(data.classes, data.point_range, data.features, data.velocity)
    made = trainer.forecasts(task, data.loader(part), ckpt_path)  # type: ignore[attr-defined]
    for batch in made:
        for index, found in batch:
            write(out, names[index], found, data.classes)


def write(out: Path, name: str, found: Detections, classes: tuple[str, ...]) -> None:
    """The two files of one sweep."""
    order = found.scores.argsort(descending=True, stable=True)
    boxes, scores = found.boxes[order], found.scores[order]
    labels = [classes[label] for label in found.labels[order].tolist()]
    rows = [
        {"name": label, "score": round(score, 4), **dict(zip(COLUMNS, _rounded(box), strict=False))}
        for label, score, box in zip(labels, scores.tolist(), boxes, strict=True)
    ]
    with writing(out / f"{name}.json") as path:
        path.write_text(json.dumps({"sweep": name, "boxes": rows}, indent=1))
    with writing(out / f"{name}.txt") as path:
        path.write_text(write_labels(labels_of_boxes(boxes.double(), labels, pinhole(), scores)))
    print(f"{out / name}.json, .txt: {len(rows)} objects", flush=True)


def _rounded(box: Tensor) -> list[float]:
    return [round(value, 4) for value in box.to(torch.float64).tolist()]
