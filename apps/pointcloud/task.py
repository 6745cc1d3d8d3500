"""Detection as a Lightning task: any detector of `apps.pointcloud.models` on any `DetectionData`."""

__all__ = ["OVERLAPS", "DetectionTask", "as_objects"]

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MeanMetric

from apps.pointcloud.data.datamodule import Batch
from apps.pointcloud.metrics.plain import Objects, average_precision
from apps.pointcloud.models import Detections, Detector
from core.errors import UserError
from core.layout import Ragged
from core.training.gather import gathered
from core.training.task import OptimizerFactory, ScheduleFactory, Task, factory_class

# IoU above which an object is found, for classes not named: half as for cars; small ones a quarter.
OVERLAPS = {"Car": 0.5, "Pedestrian": 0.25, "Cyclist": 0.25}
OTHERS = 0.5


class DetectionTask(Task):
    """Trains a detector.

    Validation is the mean over classes of the average precision seen from above (`metrics.plain`), at the IoU of
    `overlaps`.

    Args:
        network: builds the detector; the number of classes, point_range, features and velocity are added.
        optimizer: makes the optimiser.
        schedule: makes the learning-rate schedule.
        overlaps: class -> IoU; .5 for Car, .25 for Pedestrian and Cyclist (KITTI's loose ones), .5 for others.
    """

    monitor = "val_ap"
    mode = "max"

    def __init__(
        self,
        network: Callable[[int, Sequence[float]], Detector],
        optimizer: OptimizerFactory = torch.optim.AdamW,
        schedule: ScheduleFactory | None = None,
        overlaps: dict[str, float] | None = None,
    ):
        super().__init__(optimizer, schedule)
        self.network, self.overlaps = network, overlaps or {}
        self.net: Detector | None = None
        self.mean_loss = MeanMetric()
        # In the checkpoint, so that the mean of an epoch that was interrupted is that of the whole epoch.
        self.mean_loss.persistent(True)
        self._seen: dict[int, tuple[Objects, Objects]] = {}

    @property
    def label(self) -> str:
        """The detector's class."""
        return factory_class(self.network).__name__

    def setup(self, stage: str) -> None:
        data = self.trainer.datamodule
        if data is not None:
            self.prepare(data.classes, data.point_range, data.features, data.velocity)

    def prepare(self, classes: Sequence[str], point_range: Sequence[float], features: int, velocity: bool) -> None:
        """Builds the detector, once.

        Raises:
            UserError: the checkpoint was trained on other classes, another range or other points; the range is no
                whole number of voxels.
        """
        if self.net is not None:
            return
        given = {
            "classes": list(classes),
            "point_range": list(point_range),
            "features": features,
            "velocity": velocity,
        }
        for option, value in given.items():
            trained = self.facts.get(option)
            if trained not in (None, value):
                raise UserError(f"--data.{option} {value}: the checkpoint was trained with {trained}; use that.")
        try:
            self.net = self.network(len(classes), point_range, features=features, velocity=velocity)  # type: ignore[call-arg]
        except ValueError as error:
            raise UserError(f"--model.network: {error}.") from None
        self.facts = given

    def limits(self, classes: Sequence[str]) -> dict[str, float]:
        """IoU that counts for each class."""
        return {name: self.overlaps.get(name, OVERLAPS.get(name, OTHERS)) for name in classes}

    def forward(self, points: Ragged) -> Any:
        """Maps of the head."""
        assert self.net is not None
        return self.net(points)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        assert self.net is not None
        parts = self.net.loss(self(batch["points"]), batch["boxes"], batch["labels"])
        self.mean_loss.update(parts["loss"].detach(), weight=batch["points"].batch)
        self.log("train_loss", self.mean_loss, on_step=False, on_epoch=True, prog_bar=True)
        return parts["loss"]

    def detect(self, points: Ragged) -> list[Detections]:
        """Boxes of each sample."""
        assert self.net is not None
        return self.net.detect(self(points))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._look(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._look(batch)

    def on_validation_epoch_end(self) -> None:
        self._score("val_ap")

    def on_test_epoch_end(self) -> None:
        self._score("test_ap")

    def _look(self, batch: Batch) -> None:
        classes = self.facts["classes"]
        for n, (index, found) in enumerate(zip(batch["index"], self.detect(batch["points"]), strict=True)):
            a, b = batch["boxes"].offsets[n : n + 2].tolist()
            names = [classes[label] for label in batch["labels"][a:b].tolist()]
            self._seen[index] = Objects(batch["boxes"].tokens[a:b].cpu(), names), as_objects(found, classes)

    def _score(self, name: str) -> None:
        seen = gathered(self._seen)
        self._seen = {}
        truth, found = zip(*(seen[index] for index in sorted(seen)), strict=True) if seen else ((), ())
        rows = average_precision(truth, found, self.limits(self.facts["classes"]), height=False)
        present = [row.ap for row in rows if row.objects]
        self.log(name, torch.tensor(sum(present) / max(len(present), 1)), prog_bar=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> list[tuple[int, Detections]]:
        """(number, detections) of each sample, on the host."""
        found = self.detect(batch["points"])
        return [
            (index, Detections(*(part.cpu() for part in one))) for index, one in zip(batch["index"], found, strict=True)
        ]


def as_objects(found: Detections, classes: Sequence[str]) -> Objects:
    """Detections with the names of their classes."""
    return Objects(found.boxes.cpu(), [classes[label] for label in found.labels.tolist()], found.scores.cpu())
