"""Evaluation: average precision of boxes for any data, and the published protocol where the data has one."""

__all__ = ["collect", "evaluate"]

import time
import warnings
from collections.abc import Sequence

import lightning.pytorch as pl
import torch

from apps.pointcloud.baseline import ClusterDetector
from apps.pointcloud.data.datamodule import DetectionData
from apps.pointcloud.data.items import Frame
from apps.pointcloud.labels import KittiLabels
from apps.pointcloud.metrics import av2, kitti, nuscenes
from apps.pointcloud.metrics.nuscenes import NuscenesBoxes
from apps.pointcloud.metrics.plain import Objects, Score, average_precision, by_range
from apps.pointcloud.models import Detections
from apps.pointcloud.pictures import sections
from apps.pointcloud.published import KITTI
from apps.pointcloud.results import like_truth
from apps.pointcloud.task import DetectionTask, as_objects
from core.training.gather import gathered
from core.training.report import Row, Table
from core.training.results import hardware
from core.training.task import Evaluation

STRICT = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}
OTHERS = 0.5
WITHOUT_LEARNING = "clusters above the ground"


def evaluate(task: DetectionTask, trainer: pl.Trainer, data: DetectionData, ckpt_path: str | None) -> Evaluation:
    """Average precision by class, seen from above and in space, with clusters above the ground as a baseline."""
    started = time.perf_counter()
    task.prepare(data.classes, data.point_range, data.features, data.velocity)
    part = data.part("test")
    truth, found = collect(task, trainer, data, ckpt_path)
    frames = [part.frame(index) for index in range(len(part))]
    baseline = ClusterDetector(mean_sizes(data), data.point_range)
    clusters = [as_objects(baseline(part[index]["points"]), data.classes) for index in range(len(part))]
    loose, strict = task.limits(data.classes), {name: STRICT.get(name, OTHERS) for name in data.classes}
    systems = {task.label: found, WITHOUT_LEARNING: clusters}
    scores = {name: _scores(truth, objects, loose, strict) for name, objects in systems.items()}
    caption = f"seed {task.config.get('seed_everything')}; {hardware()}."
    tables = [
        _overview(scores, task.label, data, len(frames), loose, strict, caption),
        _ranges(by_range(truth, found, loose, height=False), task.label, caption),
        *_protocol(task.label, data, frames, found),
    ]
    ours = scores[task.label]
    metrics = {f"{row.name} {what} AP": row.ap for what, rows in ours.items() for row in rows if row.objects}
    metrics |= {f"{row.name} {what} R40": row.r40 for what, rows in ours.items() for row in rows if row.objects}
    metrics |= {f"{row.name} bev recall": row.recall for row in ours["bev"] if row.objects}
    metrics |= {row.name: next(iter(row.values.values())) for table in tables[2:] for row in table.rows if row.ours}
    seen = ", ".join(f"{row.name} {row.ap:.1f}" for row in ours["bev"] if row.objects)
    return Evaluation(
        task="LiDAR detection",
        protocol="average precision of boxes",
        data=data.label,
        split="test",
        model=task.label,
        metrics=metrics,
        tables=tables,
        sections=sections(frames, truth, found, ours),
        sentence=f"{task.label} on {len(frames)} sweeps, AP seen from above: {seen or 'no objects'}.",
        seconds=time.perf_counter() - started,
    )


def collect(
    task: DetectionTask, trainer: pl.Trainer, data: DetectionData, ckpt_path: str | None
) -> tuple[list[Objects], list[Objects]]:
    """Annotations and detections of every test frame, in their order; gathered over processes."""
    part = data.part("test")
    made = trainer.forecasts(task, data.loader(part), ckpt_path)  # type: ignore[attr-defined]
    detections: dict[int, Detections] = gathered({index: one for batch in made for index, one in batch})
    truth = []
    for index in range(len(part)):
        sample = part[index]
        names = [data.classes[label] for label in sample["labels"].tolist()]
        truth.append(Objects(sample["boxes"], names))
    return truth, [as_objects(detections[index], data.classes) for index in range(len(part))]


def mean_sizes(data: DetectionData) -> list[list[float]]:
    """Of each class's training boxes (test boxes where there is no training); .8 m cubes of classes without any."""
    part = data.part("train" if data.train is not None else "test")
    boxes: dict[str, list[torch.Tensor]] = {name: [] for name in data.classes}
    for index in range(min(len(part), 200)):
        frame = part.frame(index)
        for box, name in zip(frame.boxes, frame.names, strict=True):
            if name in boxes:
                boxes[name].append(box[3:6])
    return [torch.stack(own).mean(0).tolist() if own else [0.8, 0.8, 0.8] for own in boxes.values()]


def _scores(
    truth: Sequence[Objects], found: Sequence[Objects], loose: dict[str, float], strict: dict[str, float]
) -> dict[str, list[Score]]:
    return {
        "bev": average_precision(truth, found, loose, height=False),
        "3d": average_precision(truth, found, loose),
        "3d strict": average_precision(truth, found, strict),
    }


def _overview(
    scores: dict[str, dict[str, list[Score]]],
    label: str,
    data: DetectionData,
    frames: int,
    loose: dict[str, float],
    strict: dict[str, float],
    caption: str,
) -> Table:
    """One row a system and class."""
    columns = ["BEV AP", "BEV recall", "3D AP", "3D AP strict", "3D R40 strict"]
    rows = []
    for number, name in enumerate(data.classes):
        for system, made in scores.items():
            bev, space, hard = (made[what][number] for what in ("bev", "3d", "3d strict"))
            if not bev.objects:
                continue
            values = dict(zip(columns, (bev.ap, bev.recall, space.ap, hard.ap, hard.r40), strict=True))
            rows.append(Row(f"{name}, {system}", values, f"{bev.objects} objects", ours=system == label))
    limits = ", ".join(f"{name} {loose[name]:g} and {strict[name]:g}" for name in data.classes)
    return Table(
        f"{data.label}: {frames} sweeps",
        columns,
        rows,
        f"Percent, IoU above: {limits} (strict); AP is the area below the precision envelope, R40 its mean at 40 "
        f"recalls; {caption}",
        digits=1,
        higher=frozenset(columns),
    )


def _ranges(rows: Sequence[Score], label: str, caption: str) -> Table:
    """BEV AP by distance."""
    columns = list(dict.fromkeys(row.group for row in rows))
    names = [name for name in dict.fromkeys(row.name for row in rows)]
    made = []
    for name in names:
        own = {row.group: row for row in rows if row.name == name and row.objects}
        note = ", ".join(str(row.objects) for row in own.values()) + " objects"
        made.append(Row(name, {group: row.ap for group, row in own.items()}, note, ours=True))
    return Table(
        f"{label}: BEV AP by distance", columns, made, f"As above; {caption}", digits=1, higher=frozenset(columns)
    )


def _protocol(label: str, data: DetectionData, frames: Sequence[Frame], found: Sequence[Objects]) -> list[Table]:
    """The data's own evaluation, where all frames have its truth."""
    truth = [frame.truth for frame in frames]
    if not truth or any(type(one) is not type(truth[0]) or one is None for one in truth):
        return []
    own = [
        like_truth(frame, one.boxes, one.names, one.scores)  # type: ignore[arg-type]
        for frame, one in zip(frames, found, strict=True)
    ]
    if isinstance(truth[0], KittiLabels):
        return [_kitti(label, data, truth, own)]
    if isinstance(truth[0], NuscenesBoxes):
        scores = nuscenes.evaluate(truth, own)  # type: ignore[arg-type]
        values = {"NDS": scores.nds, "mAP": scores.mean_ap, **scores.errors}
        return [_summary("nuScenes detection", label, values, "As the devkit.", 4)]
    means = av2.evaluate(truth, own)[-1]  # type: ignore[arg-type]
    values = {"CDS": means.cds, "AP": means.ap, "ATE": means.ate, "ASE": means.ase, "AOE": means.aoe}
    return [_summary("Argoverse 2 detection", label, values, "As the official package, over its 26 categories.", 3)]


def _summary(title: str, label: str, values: dict[str, float], caption: str, digits: int) -> Table:
    """One row; the first two numbers are better when higher, the errors when lower."""
    return Table(title, list(values), [Row(label, values, ours=True)], caption, digits, frozenset([*values][:2]))


def _kitti(label: str, data: DetectionData, truth: Sequence, found: Sequence) -> Table:
    classes = [name for name in data.classes if name in kitti.STRICT]
    with warnings.catch_warnings():
        # Said in the caption.
        warnings.simplefilter("ignore", UserWarning)
        made = kitti.evaluate(truth, found, classes)
    cautions = [row.caution for row in made if row.measure == "3d" and row.caution]
    columns = ["3D easy", "3D moderate", "3D hard", "BEV moderate", "AOS moderate", "3D moderate R11"]
    rows = []
    for name in classes:
        own = {row.measure: row for row in made if row.name == name}
        values = dict(zip(columns[:3], own["3d"].r40.tolist(), strict=True))
        values |= {"BEV moderate": float(own["bev"].r40[1]), "3D moderate R11": float(own["3d"].r11[1])}
        if "aos" in own:
            values["AOS moderate"] = float(own["aos"].r40[1])
        rows.append(Row(f"{name}, {label}", values, ours=True))
        if data.label.startswith("KITTI"):
            rows += [
                Row(f"{name}, {system}", {"3D moderate R11": values[name]}, "published, not run here")
                for system, values in KITTI.items()
            ]
    return Table(
        "KITTI's protocol, R40",
        columns,
        rows,
        " ".join(["IoU .7 for Car, .5 for Pedestrian and Cyclist.", *cautions]),
        digits=1,
        higher=frozenset(columns),
    )
