"""`omnimix segmentation`."""

__all__ = ["APPLICATION", "main"]

# Imported so that --model.network P2AT and --data.train CocoPanoptic are found.
import apps.vision.segmentation.models  # noqa: F401
from apps.vision.segmentation.data import ade20k, camvid, cityscapes, coco_panoptic, scenes, voc  # noqa: F401
from apps.vision.segmentation.data.datamodule import SegmentationData
from apps.vision.segmentation.evaluate import evaluate
from apps.vision.segmentation.predict import predict
from apps.vision.segmentation.task import SegmentationTask
from core.training.cli import Application, run

APPLICATION = Application("segmentation", SegmentationTask, SegmentationData, evaluate, predict)


def main(arguments: list[str]) -> int:
    """One command; see `omnimix segmentation`."""
    return run(APPLICATION, arguments)
