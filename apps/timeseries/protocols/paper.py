"""The papers' protocol over the five price sets: 168 -> 24 hours, stride 1, MSE and MAE of standardised prices.

First 70 % of the rows train, last 20 % test, 10,460 test windows; the training rows' mean and deviation standardise.
The published systems see the covariates over the look-back only.  A recipe that is shown those of the hours to be
forecast solves another task: its numbers, and the ridge's, stand in columns of their own.
"""

__all__ = ["NETWORK", "network", "table"]

from collections.abc import Mapping, Sequence

import numpy as np

from apps.timeseries.data.sources import Source
from apps.timeseries.evaluate import naive
from apps.timeseries.protocols.training import Training
from apps.timeseries.published import PAPER
from apps.timeseries.ridge import Ridge
from core.training.report import Row, Table
from core.training.store import seeds_row

Scores = Mapping[str, float]
METRICS = ("MSE", "MAE")
NETWORK = "network"


def network(source: Source, training: Training, seed: int) -> tuple[dict[str, Scores], float]:
    """Trains on the training part, the best epoch by the validation part, and scores the test part.

    Args:
        source: the set.
        training: the recipe.
        seed: of the training.

    Returns:
        MSE and MAE of the network (under the name `NETWORK`) and of the baselines, and seconds of training.
    """
    fitted = training.fit_to(source, seed, select=True)
    data = fitted.data
    # Stride 1 whatever the recipe trains or tests with: that is the protocol.
    forecasts = fitted.forecasts(data.parts.test, stride=1)
    train, validation, test = (data.cut(part) for part in data.parts)
    linear = Ridge(train, validation)(test, forecasts)
    scores = {NETWORK: forecasts.scaled_errors(), "ridge on the same inputs": linear.scaled_errors()}
    scores |= {name: forecast.scaled_errors() for name, forecast in naive(forecasts).items()}
    return scores, fitted.seconds


def table(name: str, known: bool, runs: Mapping[str, Sequence[Mapping[str, Scores]]], caption: str = "") -> list[Table]:
    """A table of MSE and one of MAE, sets as columns.

    Args:
        name: of the network.
        known: whether it is shown the covariates of the hours to be forecast.
        runs: set -> what `network` returned for each seed.
        caption: command, seeds, hardware, seconds.
    """
    sets, suffix = list(runs), ", known future" if known else ""
    tables = []
    for metric in METRICS:
        rows = []
        for system in runs[sets[0]][0]:
            # A naive forecast reads no covariates: it belongs to both tasks.
            ends = [suffix, ""] if "naive" in system and known else [suffix]
            seeds = [[run[system][metric] for run in seed] for seed in zip(*runs.values(), strict=True)]
            values = [{k: v for end in ends for k, v in _columns(sets, seed, end).items()} for seed in seeds]
            own = system == NETWORK
            # The baselines are the same for every seed.
            rows.append(seeds_row(name, values) if own else Row(system, values[0]))
        for system in next(iter(PAPER.values())):
            values = [PAPER[f"EPF {data}"][system][metric] for data in sets]
            rows.append(Row(system, _columns(sets, values, ""), "published, not run here"))
        ordered = list(dict.fromkeys(column for row in rows for column in row.values))
        tables.append(Table(f"EPF, 168 to 24 hours: {metric} of standardised prices", ordered, rows, caption))
    return tables


def _columns(sets: Sequence[str], values: Sequence[float], end: str) -> dict[str, float]:
    named = {f"{data}{end}": value for data, value in zip(sets, values, strict=True)}
    return named | ({f"mean{end}": float(np.mean(values))} if len(sets) > 1 else {})
