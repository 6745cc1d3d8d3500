"""`omnimix graph`."""

__all__ = ["APPLICATION", "main"]

import apps.graph.models  # noqa: F401 (so that --model.network TunedGNN is found)
from apps.graph.data.datamodule import GraphData
from apps.graph.evaluate import evaluate
from apps.graph.predict import predict
from apps.graph.task import NodeTask
from core.training.cli import Application, run

APPLICATION = Application("graph", NodeTask, GraphData, evaluate, predict)


def main(arguments: list[str]) -> int:
    """One command; see `omnimix graph`."""
    return run(APPLICATION, arguments)
