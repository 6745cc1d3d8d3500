"""The forecasting metrics under the names of the golden files; there is no module and no weight in them."""

__all__ = ["FORECAST_METRICS"]

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from apps.timeseries import metrics
from core.verify import Facts, Golden

NORMS = (1, 2)


def _outputs(numbers: dict) -> dict[str, Tensor]:
    return {name: torch.as_tensor(np.asarray(value, dtype=np.float64)) for name, value in numbers.items()}


def fev(facts: Facts) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """All metrics, and those with a least denominator also with 1 (`_eps1`)."""

    def run(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        given = {name: value.detach().double().numpy() for name, value in inputs.items()}
        pasts = np.split(given["y_past"], np.cumsum(inputs["y_past_lengths"].numpy())[:-1])
        levels, season = facts.config["quantile_levels"], facts.config["seasonality"]
        arguments = given["y_true"], given["y_pred"], given["q_pred"], levels, pasts, season
        least = metrics.fev_metrics(*arguments, epsilon=1.0)
        named = {f"{name}_eps1": value for name, value in least.items()}
        return _outputs(metrics.fev_metrics(*arguments) | named)

    return run


def epftoolbox(facts: Facts) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Scores of the first forecast, and the tests of whether the second is better."""
    start = pd.Timestamp(facts.config["start"])
    steps = int(pd.Timedelta("1D") / pd.Timedelta(facts.get("freq", "1h")))

    def run(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        given = {name: value.detach().double().numpy().reshape(-1, steps) for name, value in inputs.items()}
        real, first, second = (given[name] for name in ("real", "forecast_1", "forecast_2"))
        naive = {
            "D": metrics.naive_daily(real),
            "W": metrics.naive_weekly(real),
            "naive": metrics.naive_epf(real, start.weekday()),
        }
        numbers = {
            "MAE": metrics.mae(real[..., None], first[..., None]),
            "RMSE": metrics.rmse(real[..., None], first[..., None]),
            "sMAPE": metrics.smape(real[..., None], first[..., None]),
        }
        numbers |= {f"rMAE_{name}": metrics.rmae(real, first, forecast) for name, forecast in naive.items()}
        for power in NORMS:
            numbers |= {
                f"DM_multivariate_norm{power}": metrics.dm(real, first, second, power),
                f"DM_univariate_norm{power}": metrics.dm_hourly(real, first, second, power),
                f"GW_multivariate_norm{power}": metrics.gw(real, first, second, power),
                f"GW_univariate_norm{power}": metrics.gw_hourly(real, first, second, power),
            }
        return _outputs(numbers)

    return run


def _by_name(run: Callable, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return run(inputs)


FORECAST_METRICS = {
    "fev metrics": Golden(fev, call=_by_name),
    "epftoolbox metrics": Golden(epftoolbox, call=_by_name),
}
