"""Evaluation: mean IoU of one confusion matrix, panoptic quality and mask AP where the data has segments."""

__all__ = ["COLUMNS", "Objects", "collect", "evaluate", "of_places", "published", "values"]

import io
import math
import time
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from apps.vision.segmentation.baselines import prior
from apps.vision.segmentation.cost import cost
from apps.vision.segmentation.data.datamodule import SegmentationData
from apps.vision.segmentation.data.items import labels_of
from apps.vision.segmentation.metrics.confusion import Scores, confusion, scores
from apps.vision.segmentation.metrics.mask_ap import Average, Coded, coded, of_coded
from apps.vision.segmentation.metrics.panoptic import PanopticQuality, Summary
from apps.vision.segmentation.pictures import Sample, sections, sum_of
from apps.vision.segmentation.published import PANOPTIC, SEMANTIC
from apps.vision.segmentation.task import Seen, SegmentationTask
from apps.vision.segmentation.truth import found_objects, pieces, true_objects, true_pieces
from core.errors import UserError
from core.training.gather import gathered
from core.training.report import Row, Table
from core.training.results import hardware
from core.training.task import Evaluation


class Objects(NamedTuple):
    """How well objects are told apart.

    Attributes:
        panoptic: quality of segments.
        masks: average precision of things; None without things.
    """

    panoptic: Summary
    masks: Average | None


COLUMNS = ["mIoU", "mean accuracy", "pixel accuracy"]


def evaluate(task: SegmentationTask, trainer: pl.Trainer, data: SegmentationData, ckpt_path: str | None) -> Evaluation:
    """Everything at the size of the labels; void pixels do not count.

    Raises:
        UserError: all pixels are void.
    """
    started = time.perf_counter()
    task.restore_facts(ckpt_path)
    task.prepare(data)
    samples, objects = collect(task, trainer, data, ckpt_path)
    names = task.facts["classes"]
    total = scores(sum_of(samples))
    if not total.labelled.sum():
        raise UserError(
            f"--data: {data.label} has no labelled pixel in its {len(samples)} test images, nothing can be compared; "
            "check which values the class list ignores."
        )
    rows, baseline = [Row(task.label, values(total), ours=True)], None
    if data.train is not None:
        row, baseline = of_places(data)
        rows.append(row)
    rows += published(data)
    views = _views(task)
    caption = f"{views}; seed {task.config.get('seed_everything')}; {hardware()}."
    tables = [
        Table(
            f"{data.label}: {len(samples)} images, {len(names)} classes",
            COLUMNS,
            rows,
            f"Percent, from one confusion matrix at the size of the labels, void left out; {caption}",
            digits=1,
            higher=frozenset(COLUMNS),
        ),
        _classes(total, baseline, names, caption),
    ]
    metrics = values(total)
    if objects is not None:
        tables.insert(1, _panoptic(task.label, data.label, objects, caption))
        tables.insert(2, _segments(objects.panoptic, names, caption))
        metrics |= tables[1].rows[0].values
    tables.append(_cost(task, data))
    said = f", panoptic quality {metrics['PQ']:.1f}" if objects is not None else ""
    return Evaluation(
        task="segmentation",
        protocol="mean IoU of one confusion matrix at label size, void left out",
        data=data.label,
        split="test",
        model=task.label,
        metrics=metrics,
        tables=tables,
        sections=sections(samples, data.part("test"), names, task.facts["palette"]),
        sentence=f"{task.label} segments {len(samples)} images of {data.label}: mean IoU {metrics['mIoU']:.1f} %, "
        f"{metrics['pixel accuracy']:.1f} % of the pixels right{said}.",
        seconds=time.perf_counter() - started,
    )


def collect(
    task: SegmentationTask, trainer: pl.Trainer, data: SegmentationData, ckpt_path: str | None
) -> tuple[list[Sample], Objects | None]:
    """A confusion matrix and the compressed class map of every test image, in their order; and of objects, if any."""
    part, classes = data.part("test"), len(task.facts["classes"])
    tally = Tally(task, classes, trainer.strategy.root_device)
    trainer.callbacks.append(tally)  # type: ignore[attr-defined]
    trainer.forecasts(task, data.loader(part), ckpt_path, keep=False)  # type: ignore[attr-defined]
    trainer.callbacks.remove(tally)  # type: ignore[attr-defined]
    found, objects = gathered(tally.found), gathered(tally.objects)
    samples = [found[index] for index in range(len(part))]
    quality = tally.quality
    # All processes ask for the sum of their counts or none does, whatever their own images hold.
    if quality is None or not any(gathered({trainer.global_rank: quality.update_called}).values()):
        return samples, None
    summary = quality.compute()
    average = of_coded([objects[index] for index in sorted(objects)]) if objects else None
    return samples, Objects(summary, average) if summary.categories else None


class Tally(pl.Callback):
    """Counts every result when it is there, so that memory does not grow with the number of images.

    Args:
        task: that makes the results.
        classes: K.
        device: where processes exchange their counts.
    """

    def __init__(self, task: SegmentationTask, classes: int, device: torch.device) -> None:
        self.classes, self.found, self.objects = classes, dict[int, Sample](), dict[int, Coded]()
        self.things = tuple(task.facts["things"])
        self.quality = None if task.quality is None else PanopticQuality(task.quality.categories).to(device)

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Seen, batch: Any, *args: Any
    ) -> None:
        """Of one image."""
        name = batch["name"][0]
        matrix = confusion(batch["labels"][0].cpu(), outputs.classes.long(), self.classes)
        self.found[outputs.index] = Sample(outputs.index, name, matrix.to_sparse(), compressed(outputs.classes))
        truth = true_pieces(batch, 0)
        if self.quality is None or truth is None or outputs.panoptic is None:
            return
        self.quality.update(*truth, *pieces(outputs.panoptic), where=name)
        if self.things and outputs.instances is not None:
            self.objects[outputs.index] = coded(
                true_objects(batch, 0, self.things), found_objects(outputs.instances), name
            )


def compressed(classes: Tensor) -> bytes:
    """A class map as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(classes.numpy().astype(np.uint8)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def values(found: Scores) -> dict[str, float]:
    """Percent by column."""
    return dict(zip(COLUMNS, (100 * found.miou, 100 * found.macc, 100 * found.aacc), strict=True))


def of_places(data: SegmentationData) -> tuple[Row, Scores]:
    """The commonest class of each place, learnt from the training masks, on the test images."""
    part, test, classes = data.part("train"), data.part("test"), len(data.classes)
    guess = prior((part.scene(n) for n in range(len(part))), classes)
    matrix = torch.zeros(classes, classes, dtype=torch.int64)
    for n in range(len(test)):
        labels = labels_of(test.scene(n))
        matrix += confusion(labels, guess((labels.shape[0], labels.shape[1])), classes)
    return Row("commonest class of each place", values(scores(matrix))), scores(matrix)


def published(data: SegmentationData) -> list[Row]:
    """Rows of the papers for this set, where they have any."""
    note = "published, not run here"
    return [Row(system, {"mIoU": value}, note) for system, value in SEMANTIC.get(data.label, {}).items()]


def _views(task: SegmentationTask) -> str:
    """How images were looked at."""
    if task.windows is None:
        how = "whole images"
    else:
        size, stride = task.windows.size, task.windows.stride
        how = f"windows of {size[0]} x {size[1]} every {stride[0]} x {stride[1]} pixels"
    scales = "" if task.scales == (1.0,) else f", scales {', '.join(f'{s:g}' for s in task.scales)}"
    return how + scales + (", mirrored too" if task.flip else "")


def _classes(found: Scores, baseline: Scores | None, names: list[str], caption: str) -> Table:
    """One row a class."""
    columns = ["IoU", "accuracy", "share of pixels"] + (["IoU of the commonest class"] if baseline else [])
    share = found.labelled / found.labelled.sum().clamp(min=1)
    rows = []
    for n, name in enumerate(names):
        values = {"IoU": found.iou[n], "accuracy": found.accuracy[n], "share of pixels": share[n]}
        if baseline is not None:
            values["IoU of the commonest class"] = baseline.iou[n]
        known = {column: 100 * float(value) for column, value in values.items() if not torch.isnan(value)}
        rows.append(Row(name, known, "" if "accuracy" in known else "not in the labels", ours=True))
    return Table("By class", columns, rows, f"Percent; {caption}", digits=1, higher=frozenset(columns))


def _panoptic(label: str, data: str, found: Objects, caption: str) -> Table:
    """One row a system."""
    quality, masks = found
    shares = {
        "PQ": quality.all.pq,
        "SQ": quality.all.sq,
        "RQ": quality.all.rq,
        "PQ things": quality.things.pq,
        "PQ stuff": quality.stuff.pq,
    }
    if masks is not None:
        shares |= {"mask AP": masks.ap, "mask AP50": masks.ap50}
    rows = [Row(label, {name: 100 * value for name, value in shares.items() if not math.isnan(value)}, ours=True)]
    rows += [Row(name, {"PQ": value}, "published, not run here") for name, value in PANOPTIC.get(data, {}).items()]
    text = f"Percent; panoptic quality as panopticapi counts, AP of masks by pycocotools; {caption}"
    return Table("Objects told apart", list(shares), rows, text, digits=1, higher=frozenset(shares))


def _segments(found: Summary, names: list[str], caption: str) -> Table:
    """One row a class that occurs."""
    columns = ["PQ", "SQ", "RQ"]
    rows = [
        Row(names[n], dict(zip(columns, (100 * each.pq, 100 * each.sq, 100 * each.rq), strict=True)), ours=True)
        for n, each in found.categories.items()
    ]
    return Table("Panoptic quality by class", columns, rows, f"Percent; {caption}", digits=1, higher=frozenset(columns))


def _cost(task: SegmentationTask, data: SegmentationData) -> Table:
    """Of one image of the test."""
    height, width = data.part("test").scene(0).image.shape[1:]
    found = cost(task, (height, width))
    values = {"parameters in M": found.parameters / 1e6, "GMAC": found.macs / 1e9, "images/s": found.speed}
    return Table(
        f"Cost of an image of {height} x {width}",
        list(values),
        [Row(task.label, values, ours=True)],
        f"Multiplications of matrix products and convolutions; one image at a time, median of several; {hardware()}.",
        digits=2,
        higher=frozenset(["images/s"]),
    )
