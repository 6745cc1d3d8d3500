"""`omnimix audio`."""

__all__ = ["APPLICATION", "main"]

import apps.audio.models  # noqa: F401 (so that --model.network MossFormer2 is found)
from apps.audio.data.datamodule import SeparationData
from apps.audio.evaluate import evaluate
from apps.audio.predict import predict
from apps.audio.task import SeparationTask
from core.training.cli import Application, run

APPLICATION = Application("audio", SeparationTask, SeparationData, evaluate, predict)


def main(arguments: list[str]) -> int:
    """One command; see `omnimix audio`."""
    return run(APPLICATION, arguments)
