"""`omnimix timeseries`."""

__all__ = ["APPLICATION", "main"]

import apps.timeseries.models  # noqa: F401 (so that --model.network TimeXer is found)
from apps.timeseries.data.datamodule import ForecastData
from apps.timeseries.evaluate import evaluate
from apps.timeseries.predict import predict
from apps.timeseries.task import ForecastTask
from core.training.cli import Application, run

APPLICATION = Application("timeseries", ForecastTask, ForecastData, evaluate, predict)


def main(arguments: list[str]) -> int:
    """One command; see `omnimix timeseries`."""
    return run(APPLICATION, arguments)
