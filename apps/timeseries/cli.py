"""`omnimix timeseries`."""

__all__ = ["main"]

import apps.timeseries.models  # noqa: F401 (so that --model.network TimeXer is found)
from apps.timeseries.data.datamodule import ForecastData
from apps.timeseries.task import ForecastTask
from core.training.cli import run


def main(arguments: list[str]) -> int:
    """One command; see `omnimix timeseries`."""
    return run("timeseries", ForecastTask, ForecastData, arguments)
