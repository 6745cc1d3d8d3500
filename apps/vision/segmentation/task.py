"""Segmentation as a Lightning task: any network of `apps.vision.segmentation.models` on any `SegmentationData`."""

__all__ = ["Seen", "SegmentationTask"]

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.utils.data import DistributedSampler
from torchmetrics import MeanMetric

from apps.vision.segmentation.data.datamodule import SegmentationData
from apps.vision.segmentation.data.items import Batch
from apps.vision.segmentation.data.statistics import Counts
from apps.vision.segmentation.inference import Windows, class_map
from apps.vision.segmentation.losses import CrossEntropy, DeepSupervision, PixelLoss
from apps.vision.segmentation.metrics.confusion import Confusion
from apps.vision.segmentation.metrics.panoptic import PanopticQuality
from apps.vision.segmentation.models import EncoderDecoder, Instances, Panoptic, PanopticSegmenter, Segmenter
from apps.vision.segmentation.truth import pieces, true_pieces
from core.errors import UserError
from core.mixers import auxiliary_loss
from core.training.task import OptimizerFactory, ScheduleFactory, Task, factory_class

# ImageNet's, of images in [0, 1].
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BACKBONES = ("net.backbone.", "net.student.backbone.")
MONITORS = ("val_miou", "val_accuracy", "val_pq")


class Seen(NamedTuple):
    """What a network found in one image.

    Attributes:
        index: of the image in its part.
        classes: (H, W) uint8.
        panoptic, instances: segments and objects, of networks that tell objects apart.
    """

    index: int
    classes: Tensor
    panoptic: Panoptic | None
    instances: Instances | None


class SegmentationTask(Task):
    """Trains a network on images and masks.

    Validation is the mean IoU of one confusion matrix over all images, at the size of their labels; of networks that
    tell objects apart also the panoptic quality, where the data has segments.

    Args:
        network: builds the network from the number of classes.
        criterion: loss of (what the network made, batch); cross entropy, helping heads with 0.4, if not given.
        class_weights: makes weights from the pixels of each class in the training images, for losses that take them and
            have none.
        weights: file of a release to start from, of the whole network or of its backbone; or a checkpoint of ours, of
            which the backbone is taken.
        optimizer: makes the optimiser.
        schedule: makes the learning-rate schedule.
        backbone_rate: learning rate of the backbone over that of the rest; below 1 for one that is trained already.
        monitor: logged value that chooses the checkpoint: val_miou, val_accuracy or val_pq.
        mean, std: of the colours that the network is used to, R G B in [0, 1]; ImageNet's by default.
        windows: evaluate and predict in sliding windows; whole images if not given.
        scales: of the image in evaluation and prediction.
        flip: look at the mirrored image, too.
        memory_mb: what scores that wait for other windows may take.
    """

    mode = "max"

    def __init__(
        self,
        network: Callable[[int], Segmenter],
        criterion: nn.Module | None = None,
        class_weights: Callable[[Counts], list[float]] | None = None,
        weights: str | None = None,
        optimizer: OptimizerFactory = torch.optim.AdamW,
        schedule: ScheduleFactory | None = None,
        backbone_rate: float = 1.0,
        monitor: str = "val_miou",
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        windows: Windows | None = None,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        memory_mb: int = 2000,
    ):
        super().__init__(optimizer, schedule)
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise UserError(
                f"--model.mean {list(mean)} and --model.std {list(std)} must be three numbers each, std > 0."
            )
        if monitor not in MONITORS:
            raise UserError(f"--model.monitor {monitor}: is not one of {', '.join(MONITORS)}.")
        if not scales or min(scales) <= 0:
            raise UserError(f"--model.scales {list(scales)}: must be one or more positive numbers, such as [0.75, 1].")
        if memory_mb < 1 or backbone_rate < 0:
            raise UserError(
                f"--model.memory_mb {memory_mb} must be at least 1, --model.backbone_rate {backbone_rate} not negative."
            )
        self.network, self.class_weights, self.monitor = network, class_weights, monitor
        self.weights, self.backbone_rate = weights, backbone_rate
        self.criterion = criterion or DeepSupervision(CrossEntropy())
        self.windows, self.scales, self.flip, self.memory_mb = windows, tuple(scales), flip, memory_mb
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(list(values))[:, None, None], persistent=False)
        self.net: Segmenter | None = None
        self.mean_loss = MeanMetric()
        # In the checkpoint, so that the mean of an epoch that was interrupted is that of the whole epoch.
        self.mean_loss.persistent(True)
        self.confusion: Confusion | None = None
        self.quality: PanopticQuality | None = None

    @property
    def label(self) -> str:
        """The network's name: head and backbone, its class, or the function that makes a published variant."""
        if isinstance(self.net, EncoderDecoder):
            return f"{type(self.net.head).__name__} on {type(self.net.backbone).__name__}"
        name = getattr(self.network, "__name__", "")
        return name if name and name != "<lambda>" else factory_class(self.network).__name__

    def setup(self, stage: str) -> None:
        data = self.trainer.datamodule
        if data is None:
            return
        if self.net is None:
            # Lightning reads the checkpoint after this; its classes are wanted before the network is built.
            self.restore_facts(self.checkpoint)
        self.prepare(data)
        if stage == "fit" and self.class_weights is not None:
            counts = data.counts()
            if absent := counts.never(tuple(self.facts["classes"])):
                rank_zero_warn(
                    f"--data: no training image holds {_listed(absent)}; check the class list and the values of masks."
                )
            weights = torch.tensor(self.class_weights(counts))
            for loss in self.criterion.modules():
                if isinstance(loss, PixelLoss) and loss.weights is None:
                    loss.weights = weights

    def prepare(self, data: SegmentationData) -> None:
        """Builds the network, once; the classes are those of the checkpoint where there is one.

        Raises:
            UserError: the checkpoint was trained on other classes; the network cannot be built for these.
        """
        if self.net is not None:
            return
        given = {
            "classes": list(data.classes),
            "things": list(data.things),
            "palette": [list(colour) for colour in data.palette] if data.palette else None,
        }
        if self.facts:
            trained = self.facts["classes"]
            if given["classes"] and given["classes"] != trained:
                raise UserError(
                    f"--data: has the classes {_listed(given['classes'])}, the checkpoint was trained on "  # type: ignore[arg-type]
                    f"{_listed(trained)}; use the data it was trained for, or predict files alone."
                )
            given = self.facts
        elif not given["classes"]:
            raise UserError("--data: says no classes; name a set with --data.train, or a checkpoint with --ckpt_path.")
        classes = len(given["classes"])  # type: ignore[arg-type]
        try:
            self.net = self.network(classes)
        except ValueError as error:
            raise UserError(f"--model.network: {error}.") from None
        if self.backbone_rate != 1 and not any(
            f"net.{n}".startswith(BACKBONES) for n, _ in self.net.named_parameters()
        ):
            raise UserError(
                f"--model.backbone_rate {self.backbone_rate}: {self.label} has no backbone of its own; leave it out."
            )
        if self.weights is not None and not self.facts:
            from apps.vision.segmentation.models.checkpoints import load_release

            load_release(self.net, self.weights)
        if isinstance(self.net, PanopticSegmenter):
            self.net.things = tuple(given["things"])  # type: ignore[arg-type]
            self.quality = PanopticQuality({n: n in self.net.things for n in range(classes)})
        elif classes < 2:
            raise UserError(
                f"--data: {given['classes'][0]} is the only class, and every pixel will have it; list what is not "  # type: ignore[index]
                f"{given['classes'][0]} as a class, too, instead of ignoring it."  # type: ignore[index]
            )
        elif self.monitor == "val_pq":
            raise UserError(f"--model.monitor val_pq: {self.label} does not tell objects apart; use val_miou.")
        self.confusion = Confusion(classes)
        self.facts = given

    def rate(self, name: str) -> float:
        """Of a parameter; P2AT's backbone has no part of its own and learns as the rest."""
        return self.backbone_rate if name.startswith(BACKBONES) else 1.0

    def normalised(self, image: Tensor) -> Tensor:
        """Images in [0, 1] as the network is used to them."""
        return (image - self.mean) / self.std

    def forward(self, image: Tensor) -> Any:
        """(B, 3, H, W) in [0, 1] -> what the network makes."""
        assert self.net is not None
        return self.net(self.normalised(image))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        assert self.net is not None
        loss = self.criterion(self(batch["image"]), batch) + auxiliary_loss(self.net)
        self.mean_loss.update(loss.detach(), weight=len(batch["image"]))
        self.log("train_loss", self.mean_loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    @property
    def plain(self) -> bool:
        """Whether images are looked at once, whole."""
        return self.windows is None and self.scales == (1.0,) and not self.flip

    def look(self, image: Tensor, size: tuple[int, int]) -> tuple[Tensor, Any]:
        """One image (1, 3, H, W) in [0, 1].

        Args:
            image: as it is.
            size: of its labels.

        Returns:
            (H, W) classes, in windows and views as asked for; and, from a network that tells objects apart, what it
            made of the whole image.
        """
        made = self(image) if isinstance(self.net, PanopticSegmenter) else None
        network = (lambda x: made) if made is not None and self.plain else self
        return class_map(network, image, self.windows, self.scales, self.flip, size, self.memory_mb), made

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        if not repeated(batch, batch_idx, self.trainer.val_dataloaders):
            self._look(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        if not repeated(batch, batch_idx, self.trainer.test_dataloaders):
            self._look(batch)

    def _look(self, batch: Batch) -> None:
        assert self.confusion is not None
        for n in range(len(batch["image"])):
            labels = batch["labels"][n]
            classes, made = self.look(batch["image"][n : n + 1], (labels.shape[0], labels.shape[1]))
            self.confusion.update(labels, classes)
            truth = true_pieces(batch, n)
            if self.quality is not None and truth is not None:
                found = self.net.panoptic(made)[0]  # type: ignore[union-attr, operator]
                self.quality.update(*truth, *pieces(found), where=batch["name"][n])

    def on_validation_epoch_end(self) -> None:
        self._score("val")

    def on_test_epoch_end(self) -> None:
        self._score("test")

    def _score(self, part: str) -> None:
        assert self.confusion is not None
        found = self.confusion.compute()
        self.log(f"{part}_miou", torch.tensor(found.miou), prog_bar=True)
        self.log(f"{part}_accuracy", torch.tensor(found.aacc))
        self.confusion.reset()
        if self.quality is not None:
            self.log(f"{part}_pq", torch.tensor(self.quality.compute().all.pq), prog_bar=True)
            self.quality.reset()

    def predict_step(self, batch: Batch, batch_idx: int) -> Seen:
        """What is found in one image, on the host."""
        labels = batch["labels"][0]
        classes, made = self.look(batch["image"], (labels.shape[0], labels.shape[1]))
        found = objects = None
        if isinstance(self.net, PanopticSegmenter):
            found = Panoptic(*(part.cpu() for part in self.net.panoptic(made)[0]))
            objects = Instances(*(part.cpu() for part in self.net.instances(made)[0]))
        return Seen(batch["index"][0], classes.to(torch.uint8).cpu(), found, objects)


def repeated(batch: Batch, number: int, loader: Any) -> bool:
    """Whether a process of several sees the number-th of its images only because all shall have as many to look at.

    Images come one at a time and in order, so each process knows which one is its own.
    """
    sampler = getattr(loader, "sampler", None)
    if not isinstance(sampler, DistributedSampler):
        return False
    return batch["index"][0] != sampler.rank + number * sampler.num_replicas


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])} ... ({len(names)})" if len(names) > 3 else ", ".join(names)
