"""epftoolbox' protocol: the last 728 days of a price set, one forecast each midnight, scores in EUR (USD) per MWh.

Lago et al., "Forecasting day-ahead electricity prices", Applied Energy 2021; jeslago/epftoolbox a93dee7.  Prices up to
D-1 and the covariates of D are known.  MAE over all hours; rMAE = MAE / MAE of the same hour a week before, the latter
from the 8th day on; the multivariate Diebold-Mariano test on absolute errors.  The release's own forecasts of these
days (DNN and LEAR, four of each and their ensembles) are rows of the table, read from the files it ships.

Refitting is allowed every day.  A network is trained on everything before the test period, windows of all hours, then
on those that start at midnight, and every `every` days of the test period again on those up to then, recent ones drawn
more often (`Training.refit`).
"""

__all__ = ["STRONGEST", "Refit", "network", "ridge", "scores", "shipped", "table"]

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from apps.timeseries.data.epf import before, toolbox_part
from apps.timeseries.data.files import read_frame
from apps.timeseries.data.public import data_folder, find_file
from apps.timeseries.data.series import Panel
from apps.timeseries.data.splits import Split, everything
from apps.timeseries.lear import Days, ridge_forecasts
from apps.timeseries.metrics import dm, naive_weekly, rmae
from apps.timeseries.protocols.training import Fixed, Training
from core.errors import UserError
from core.training.report import Row, Table
from core.training.store import seeds_row

Array = NDArray[np.float64]
DAYS = 728
# The shipped forecasts that a row is tested against.
STRONGEST = ("LEAR Ensemble", "DNN Ensemble")


def _prices(panel: Panel) -> Array:
    """The last 728 days `(728, 24)`."""
    history = int(panel.history[0])
    return panel.rows(0)[history - DAYS * 24 : history, 0].double().numpy().reshape(DAYS, 24)


def shipped(name: str, panel: Panel, path: str | Path | None = None) -> dict[str, Array]:
    """The release's forecasts `(728, 24)` by their names.

    Args:
        name: of the set.
        panel: the set, to check the hours.
        path: folder with NP.csv.gz and so on (default: `timeseries/epf_forecasts` below $OMNIMIX_DATA or `data`).

    Raises:
        UserError: the file is missing or is not of these 728 days.
    """
    folder = data_folder("epf_forecasts", path)
    file = find_file(folder, name, "the folder forecasts of https://github.com/jeslago/epftoolbox")
    frame, _ = read_frame(file, ())
    stamps = pd.DatetimeIndex(pd.to_datetime(frame.iloc[:, 0]))
    wanted = panel.stamps(0, int(panel.history[0]) - DAYS * 24, DAYS * 24)
    if len(stamps) != len(wanted) or (stamps != wanted).any():
        raise UserError(
            f"{file.name}: has {len(stamps):,} hours from {stamps[0]}, expected {len(wanted):,} from {wanted[0]}; "
            "take the file of the repository unchanged."
        )
    return {column: frame[column].to_numpy(np.float64).reshape(DAYS, 24) for column in frame.columns[1:]}


def scores(panel: Panel, forecast: Array) -> dict[str, float]:
    """MAE and rMAE of a forecast `(728, 24)` in original units.

    Raises:
        ValueError: another shape, or a forecast that is not a finite number.
    """
    forecast = np.asarray(forecast, dtype=np.float64)
    if forecast.shape != (DAYS, 24) or not np.isfinite(forecast).all():
        raise ValueError(f"epftoolbox scores: forecast {forecast.shape} must be ({DAYS}, 24) finite numbers.")
    real = _prices(panel)
    return {"MAE": float(np.abs(forecast - real).mean()), "rMAE": rmae(real, forecast, naive_weekly(real))}


def naive_score(panel: Panel) -> float:
    """MAE of the same hour a week before, from the 8th day of the test period on: the denominator of rMAE."""
    real = _prices(panel)
    return float(np.nanmean(np.abs(naive_weekly(real) - real)))


def ridge(panel: Panel) -> Array:
    """Forecasts `(728, 24)` of the ridge on LEAR's inputs, refitted every 7 days."""
    days = Days.of(panel)
    return ridge_forecasts(days, len(days.prices) - DAYS, len(days.prices))


@dataclass(frozen=True)
class Refit:
    """How a network goes on learning, on windows that start at midnight like those of the test.

    Args:
        first: steps after the first training, all days alike.
        first_rate: share of the recipe's learning rate there.
        every: days between refits during the test period, 0 for none.
        steps: of a refit.
        rate: share of the recipe's learning rate there.
        half_life: in days, after which a window is drawn half as often.
    """

    first: int = 300
    first_rate: float = 0.5
    every: int = 28
    steps: int = 30
    rate: float = 0.15
    half_life: float = 360.0


def network(panel: Panel, training: Training, seed: int, refit: Refit, validation_days: int = 0) -> tuple[Array, float]:
    """Trains before the test period, forecasts it day by day and goes on learning.

    Args:
        panel: the set, one series.
        training: the recipe.
        seed: of training and refits.
        refit: how it goes on.
        validation_days: days before the test period that choose the epoch of the first training; with 0 all is
            trained on and the last epoch counts.

    Returns:
        Forecasts `(728, 24)` in original units, and seconds of training and refits.
    """
    test = toolbox_part(panel)
    first, last = (int(x) for x in test[0])
    past = before(test)
    hold = torch.tensor([0, 24 * validation_days])
    split = Split(past - hold, torch.stack([past[:, 1] - hold[1], past[:, 1]], 1), test)
    fitted = training.fit_to(Fixed(panel, split, "epftoolbox"), seed, select=validation_days > 0)
    windows = fitted.data.cut(everything(panel))
    seconds = fitted.seconds
    if refit.first:
        seconds += training.refit(fitted, windows, first, seed, steps=refit.first, rate=refit.first_rate)
    step = 24 * (refit.every or DAYS)
    out = []
    for row in range(first, last, step):
        if row > first:
            seconds += training.refit(
                fitted, windows, row, seed, steps=refit.steps, rate=refit.rate, half_life=refit.half_life
            )
        forecasts = fitted.forecasts(torch.tensor([[row, min(row + step, last)]]))
        out.append(forecasts.original(forecasts.point)[..., 0])
    error = np.abs(np.concatenate(out) - _prices(panel)).mean()
    print(f"  MAE {error:.3f}, {seconds:.0f} s", flush=True)
    return np.concatenate(out), seconds


def table(
    name: str,
    panel: Panel,
    own: Mapping[str, list[Array]],
    published: Mapping[str, Array],
    caption: str = "",
) -> Table:
    """One set: every system's MAE and rMAE, and whether it beats the strongest shipped ones.

    Args:
        name: of the set.
        panel: the set.
        own: system -> forecasts `(728, 24)` of each seed; with several the mean forecast is a row of its own.
        published: shipped forecasts by name.
        caption: command, seeds, hardware, seconds.
    """
    real = _prices(panel)
    against = {f"p against {rival}": published[rival] for rival in STRONGEST if rival in published}

    def tested(forecast: Array) -> dict[str, float]:
        better = {column: dm(real, rival, forecast) for column, rival in against.items() if rival is not forecast}
        return scores(panel, forecast) | better

    rows = []
    for system, forecasts in own.items():
        if len(forecasts) > 1:
            rows.append(Row(f"{system}, mean of {len(forecasts)} seeds", tested(np.mean(forecasts, 0)), ours=True))
            rows.append(seeds_row(f"{system}, each seed", [scores(panel, forecast) for forecast in forecasts]))
        else:
            rows.append(Row(system, tested(forecasts[0]), ours=True))
    rows += [Row(system, tested(forecast), "published forecasts") for system, forecast in published.items()]
    rows.append(Row("same hour a week before", {"MAE": naive_score(panel), "rMAE": 1.0}, "from the 8th day on"))
    return Table(
        f"epftoolbox, {name}: last {DAYS} days",
        ["MAE", "rMAE", *against],
        rows,
        "Original units; p of the multivariate Diebold-Mariano test, small where the row is better than the rival. "
        + caption,
    )
