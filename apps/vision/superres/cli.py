"""`omnimix superres`."""

__all__ = ["APPLICATION", "main"]

import apps.vision.superres.models  # noqa: F401 (so that --model.network HAT is found)
from apps.vision.superres.data.datamodule import SuperResolutionData
from apps.vision.superres.evaluate import evaluate
from apps.vision.superres.predict import predict
from apps.vision.superres.task import SuperResolutionTask
from core.training.cli import Application, run

APPLICATION = Application("superres", SuperResolutionTask, SuperResolutionData, evaluate, predict)


def main(arguments: list[str]) -> int:
    """One command; see `omnimix superres`."""
    return run(APPLICATION, arguments)
