"""Evaluation: one set of forecasts, the published protocol's numbers, baselines in the same table, a report."""

__all__ = ["collect", "evaluate"]

import time

import lightning.pytorch as pl
import torch

from apps.timeseries import baselines
from apps.timeseries.conformal import calibrate
from apps.timeseries.data.datamodule import ForecastData
from apps.timeseries.data.windows import WindowDataset
from apps.timeseries.forecasts import Forecasts
from apps.timeseries.pictures import sections
from apps.timeseries.published import PAPER
from apps.timeseries.ridge import Ridge
from apps.timeseries.task import ForecastTask
from core.training.report import Row, Table
from core.training.results import hardware
from core.training.task import Evaluation

LEVELS = (0.1, 0.5, 0.9)


def collect(
    task: ForecastTask,
    trainer: pl.Trainer,
    data: ForecastData,
    windows: WindowDataset,
    ckpt_path: str | None,
    levels: tuple[float, ...] = LEVELS,
) -> Forecasts:
    """The network's forecasts of all windows, gathered over processes and in the order of the windows."""
    task.prepare(data)
    batches = trainer.forecasts(task, data.loader(windows), ckpt_path)
    joined = {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}
    head = task.net.head
    target = joined["future_target"].masked_fill(~joined["future_observed_values"], float("nan"))
    point = head.point(joined["prediction"])
    quantiles = head.quantiles(joined["prediction"], levels) if head.size > 1 else None
    calibration = task.facts.get("conformal")
    if quantiles is None and calibration:
        chosen = [calibration["levels"].index(level) for level in levels]
        quantiles = calibrate(point, calibration["shifts"][..., chosen])
    return Forecasts(
        point, target, joined["item"], joined["forecast_start"], data.panel, data.scaler, quantiles, levels
    )


def gather(joined: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The parts of all processes, each window once, in the order of one process."""
    parts: list[dict[str, torch.Tensor]] = [{} for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(parts, joined)
    whole = {key: torch.cat([part[key] for part in parts]) for key in joined}
    place = whole["item"] * (whole["forecast_start"].max() + 1) + whole["forecast_start"]
    _, rows = torch.unique(place, return_inverse=True)
    first = torch.full((int(rows.max()) + 1,), len(rows)).scatter_reduce(0, rows, torch.arange(len(rows)), "amin")
    return {key: value[first] for key, value in whole.items()}


def evaluate(task: ForecastTask, trainer: pl.Trainer, data: ForecastData, ckpt_path: str | None) -> Evaluation:
    """Scaled MSE and MAE over all test windows (the paper protocol), with the baselines the data allow."""
    started = time.perf_counter()
    windows = data.part("test")
    forecasts = collect(task, trainer, data, windows, ckpt_path)
    own = forecasts.scaled_errors()
    systems = {"ridge on the same inputs": Ridge(data.part("train"), data.part("validation"))(windows, forecasts)}
    systems |= naive(forecasts)
    rows = [Row(task.label, own, ours=True)] + [Row(name, made.scaled_errors()) for name, made in systems.items()]
    published = [Row(name, errors, "published, not run here") for name, errors in PAPER.get(data.label, {}).items()]
    known, seed = bool(data.panel.known_future), task.config.get("seed_everything")
    if not known:
        rows += published
    tables = [
        Table(
            f"{data.label}: {data.context_length} to {data.prediction_length} steps, {len(windows):,} test windows"
            + (", covariates known for the horizon" if known else ""),
            ["MSE", "MAE"],
            rows,
            f"Standardised units, mean over windows and steps; seed {seed}; {hardware()}.",
        )
    ]
    if known and published:
        # Another task than ours, so another table: knowing tomorrow's load is worth a sixth of the error.
        title = f"{data.label}: published systems, which see covariates over the look-back only"
        tables.append(Table(title, ["MSE", "MAE"], published))
    return Evaluation(
        task="forecasting",
        protocol="paper protocol" if not known else "paper protocol with known future covariates",
        data=data.label,
        split="test",
        model=task.label,
        metrics=own,
        tables=tables,
        sections=sections(forecasts, data),
        sentence=f"{task.label} forecasts {', '.join(data.panel.target)} {data.prediction_length} steps ahead from "
        f"{data.context_length} past ones: mean absolute error {own['MAE']:.3f} standard deviations.",
        seconds=time.perf_counter() - started,
    )


def naive(forecasts: Forecasts) -> dict[str, Forecasts]:
    """The forecasts without training that make sense for this frequency."""
    freq = forecasts.panel.freq
    period = baselines.PERIODS.get(freq, 1)
    made = {f"seasonal naive, lag {period}": baselines.seasonal_naive(forecasts, period)}
    if freq == "h" and forecasts.start.min() >= 168:
        made["seasonal naive, lag 168"] = baselines.seasonal_naive(forecasts, 168)
    return made
