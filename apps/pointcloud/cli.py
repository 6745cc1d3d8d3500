"""`omnimix pointcloud`."""

__all__ = ["APPLICATION", "main"]

import apps.pointcloud.models  # noqa: F401 (so that --model.network ScatterFormerDetector is found)
from apps.pointcloud.data.datamodule import DetectionData
from apps.pointcloud.evaluate import evaluate
from apps.pointcloud.predict import predict
from apps.pointcloud.task import DetectionTask
from core.training.cli import Application, run

APPLICATION = Application("pointcloud", DetectionTask, DetectionData, evaluate, predict)


def main(arguments: list[str]) -> int:
    """One command; see `omnimix pointcloud`."""
    return run(APPLICATION, arguments)
