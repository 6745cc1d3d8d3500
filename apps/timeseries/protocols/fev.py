"""fev-bench's five day-ahead price tasks, offline (autogluon/fev 1bc95fd, tasks.yaml).

Horizon 24 hours, 20 windows one day apart over the last 480 hours, both covariates known for the day to be forecast,
seasonality 24, quantiles .1 ... .9, SQL above all.  A window's seasonal error e is taken over everything before that
window; its scores are those of `apps.timeseries.metrics.fev_metrics` (WAPE and WQL with a least denominator of 1), a
task's are the means over its 20 windows, and tasks are put together by the geometric mean.

The seasonal naive forecast has the median lag 24 and the other quantiles at z_tau sigma from it, sigma the root mean
square of y_t - y_(t-24) in the last 1000 hours, as recovered from the published results.  A network is trained once on
everything before the 480 hours, never on the windows; the published systems marked so are refitted for each window.
"""

__all__ = ["LEVELS", "PUBLISHED", "network", "ridge", "scores", "seasonal_naive", "table"]

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm

from apps.timeseries.data.epf import before, fev_part
from apps.timeseries.data.series import Panel
from apps.timeseries.data.splits import Split, everything
from apps.timeseries.lear import Days, ridge_quantiles
from apps.timeseries.metrics import fev_metrics
from apps.timeseries.protocols.training import Fixed, Training
from core.training.report import Row, Table
from core.training.store import seeds_row

Array = NDArray[np.float64]
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
HORIZON, WINDOWS, SEASON = 24, 20, 24
ORDER = ("BE", "DE", "FR", "NP", "PJM")
SUMMARY = ("SQL, all five", "MASE, all five")

# Published results: SQL of the five tasks in ORDER, then the geometric means of SQL and MASE.
PUBLISHED = {
    "PatchTST (AutoGluon, refitted per window)": (0.550, 0.460, 0.338, 0.635, 0.369, 0.4576, 0.5744),
    "TiRex-2": (0.532, 0.488, 0.348, 0.612, 0.375, 0.4607, 0.5807),
    "TabPFN-TS-3": (0.533, 0.437, 0.374, 0.633, 0.382, 0.4620, 0.5824),
    "Chronos-2": (0.503, 0.491, 0.362, 0.658, 0.382, 0.4680, 0.5885),
    "TabPFN-TS": (0.546, 0.448, 0.330, 0.678, 0.436, 0.4737, 0.6046),
    "TFT (AutoGluon, refitted per window)": (0.626, 0.509, 0.397, 0.690, 0.346, 0.4963, 0.6264),
    "TS-ICL": (0.476, 0.590, 0.364, 0.810, 0.390, 0.5036, 0.6329),
    "DeepAR (AutoGluon, refitted per window)": (0.605, 0.632, 0.405, 0.817, 0.357, 0.5383, 0.6690),
    "Toto-2.0-2.5B, no covariates": (0.517, 1.01, 0.396, 0.952, 0.404, 0.603, 0.759),
    "TimesFM-2.5, no covariates": (0.494, 1.03, 0.409, 1.17, 0.426, 0.636, 0.782),
    "Chronos-Bolt, no covariates": (0.573, 1.02, 0.439, 0.971, 0.422, 0.637, 0.808),
    "CatBoost, point forecast": (0.745, 1.09, 0.579, 1.20, 0.597, 0.805, 0.805),
    "LightGBM, point forecast": (0.807, 1.10, 0.554, 1.30, 0.598, 0.825, 0.825),
    "seasonal naive, their run": (1.150, 1.388, 1.246, 1.530, 0.515, 1.094, 1.0884),
}


def _prices(panel: Panel) -> Array:
    return panel.rows(0)[: int(panel.history[0]), 0].double().numpy()


def scores(panel: Panel, quantiles: Array) -> dict[str, float]:
    """The task's scores of any system.

    Args:
        panel: the set, one series.
        quantiles: `(20, 24, 9)` forecasts of the 20 windows at `LEVELS` in original units.

    Returns:
        SQL, MASE, WAPE, WQL and the other metrics of fev, means over the windows; the point forecast is the median.

    Raises:
        ValueError: another shape, or a forecast that is not a finite number.
    """
    quantiles = np.asarray(quantiles, dtype=np.float64)
    if quantiles.shape != (WINDOWS, HORIZON, len(LEVELS)) or not np.isfinite(quantiles).all():
        raise ValueError(
            f"fev scores: quantiles {quantiles.shape} must be ({WINDOWS}, {HORIZON}, {len(LEVELS)}) finite numbers."
        )
    prices = _prices(panel)
    windows = []
    for n, forecast in enumerate(quantiles):
        start = len(prices) - (WINDOWS - n) * HORIZON
        y, median = prices[None, start : start + HORIZON, None], forecast[None, :, None, LEVELS.index(0.5)]
        arguments = y, median, forecast[None, :, None], LEVELS, [prices[:start, None]], SEASON
        least = fev_metrics(*arguments, epsilon=1.0)
        windows.append(fev_metrics(*arguments) | {name: least[name] for name in ("WAPE", "WQL")})
    return {name: float(np.mean([window[name] for window in windows])) for name in windows[0]}


def seasonal_naive(panel: Panel) -> Array:
    """Quantiles `(20, 24, 9)` from the day before."""
    prices = _prices(panel)
    out = []
    for n in range(WINDOWS):
        past = prices[: len(prices) - (WINDOWS - n) * HORIZON]
        recent = past[-1000:]
        sigma = np.sqrt(np.mean((recent[SEASON:] - recent[:-SEASON]) ** 2))
        out.append(past[-SEASON:, None] + sigma * norm.ppf(LEVELS))
    return np.array(out)


def ridge(panel: Panel) -> Array:
    """Quantiles `(20, 24, 9)` of the ridge on LEAR's inputs, fitted anew for each window."""
    days = Days.of(panel)
    last = len(days.prices)
    return np.array([ridge_quantiles(days, day, LEVELS) for day in range(last - WINDOWS, last)])


def network(
    panel: Panel, training: Training, seed: int, validation_days: int = 0, first: int = 300, first_rate: float = 0.5
) -> tuple[Array, float]:
    """Trains once on everything before the windows, at last on windows of their hour, and forecasts them.

    Args:
        panel: the set, one series.
        training: a recipe whose head gives quantiles.
        seed: of the training.
        validation_days: days before the windows that are kept from training to choose the epoch by; with 0 all is
            trained on and the last epoch counts.
        first, first_rate: steps on windows that start at the hour of the test's, at this share of the learning rate.

    Returns:
        Quantiles `(20, 24, 9)` in original units, and seconds of training.
    """
    test = fev_part(panel)
    past = before(test)
    hold = torch.tensor([0, 24 * validation_days])
    split = Split(past - hold, torch.stack([past[:, 1] - hold[1], past[:, 1]], 1), test)
    fitted = training.fit_to(Fixed(panel, split, "fev"), seed, select=validation_days > 0)
    seconds = fitted.seconds
    if first:
        windows = fitted.data.cut(everything(panel))
        seconds += training.refit(fitted, windows, int(test[0, 0]), seed, steps=first, rate=first_rate)
    forecasts = fitted.forecasts(test, LEVELS)
    quantiles = np.stack([forecasts.original(forecasts.quantiles[..., n]) for n in range(len(LEVELS))], -1)
    return quantiles[:, :, 0], seconds


def table(systems: dict[str, dict[str, list[dict[str, float]]]], caption: str = "") -> list[Table]:
    """SQL of every set beside the published systems, and MASE of our own.

    Args:
        systems: name -> set -> scores of each seed (one for systems without seeds).
        caption: command, seeds, hardware, seconds.
    """
    chosen = [name for name in ORDER if any(name in sets for sets in systems.values())]
    whole = len(chosen) == len(ORDER)
    columns = [*chosen, *(SUMMARY if whole else ())]
    rows, errors = [], []
    for name, sets in systems.items():
        runs = list(zip(*(sets[data] for data in chosen), strict=True))
        sql = [dict(zip(chosen, (run["SQL"] for run in seed), strict=True)) for seed in runs]
        mase = [dict(zip(chosen, (run["MASE"] for run in seed), strict=True)) for seed in runs]
        if whole:
            sql = [
                s | dict(zip(SUMMARY, (_geometric(s.values()), _geometric(m.values())), strict=True))
                for s, m in zip(sql, mase, strict=True)
            ]
        rows.append(seeds_row(name, sql))
        errors.append(seeds_row(name, mase))
    for name, values in PUBLISHED.items():
        named = dict(zip((*ORDER, *SUMMARY), values, strict=True))
        rows.append(Row(name, {column: named[column] for column in columns}, "published, not run here"))
    rule = "20 windows of 24 hours, covariates known for the day to be forecast; lower is better."
    return [
        Table("fev-bench, day-ahead prices: SQL", columns, rows, f"{rule} {caption}".strip()),
        Table("fev-bench, day-ahead prices: MASE", chosen, errors, f"{rule} {caption}".strip()),
    ]


def _geometric(values: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(list(values)))))
