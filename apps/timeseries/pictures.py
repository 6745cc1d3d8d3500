"""Pictures of forecasts for the report: fans with truth, error by horizon and by hour."""

__all__ = ["sections"]

import numpy as np

from apps.timeseries.data.datamodule import ForecastData
from apps.timeseries.forecasts import Forecasts
from core.training.report import COLOURS, Figure, Section, concise_dates, figure


def sections(forecasts: Forecasts, data: ForecastData) -> list[Section]:
    """The report's middle: typical, best and worst forecasts, and where the error is."""
    error = (forecasts.point - forecasts.target).abs().nanmean(dim=(1, 2)).numpy()
    order = np.argsort(np.where(np.isnan(error), np.inf, error))
    order = order[: int((~np.isnan(error)).sum())]
    if not len(order):
        return []
    places = {
        "best": 0.02, "good": 0.25, "typical": 0.5, "bad": 0.9, "worst": 1.0,
    }  # fmt: skip
    fans = [
        fan(forecasts, int(order[min(len(order) - 1, int(q * len(order)))]), name, data.context_length)
        for name, q in places.items()
    ]
    made = [Section("Forecasts", fans, text="Windows of the test part, chosen by the rank of their error.")]
    where = [by_step(forecasts)]
    if forecasts.panel.freq in ("h", "30min", "15min"):
        where.append(by_hour(forecasts))
    made.append(Section("Where it fails", where))
    return made


def fan(forecasts: Forecasts, window: int, name: str, context: int) -> Figure:
    """One window: the past, the truth, the forecast and its 80 % interval."""
    column = forecasts.panel.target[0]
    past = forecasts.past(window, min(context, 3 * forecasts.point.shape[1]))[:, 0]
    stamps = forecasts.stamps(window, before=len(past))
    ahead = stamps[len(past) :]
    one = slice(window, window + 1)
    truth = forecasts.original(forecasts.target[one])[0, :, 0]
    point = forecasts.original(forecasts.point[one])[0, :, 0]
    title = f"{name}: {ahead[0]:%d %b %Y %H:%M}"
    text = f"{name} forecast of {column} from {ahead[0]}: forecast {point.mean():.1f}, truth {np.nanmean(truth):.1f}"
    with figure(text, title, size=(5.2, 2.7)) as (axis, made):
        axis.plot(stamps[: len(past)], past, color="#999999", lw=1)
        axis.plot(ahead, truth, color="#999999", lw=1.6, label="observed")
        if forecasts.quantiles is not None:
            low = forecasts.original(forecasts.quantiles[one, ..., 0])[0, :, 0]
            high = forecasts.original(forecasts.quantiles[one, ..., -1])[0, :, 0]
            axis.fill_between(ahead, low, high, color=COLOURS[0], alpha=0.25, lw=0, label="10 to 90 %")
        axis.plot(ahead, point, color=COLOURS[0], lw=1.6, label="forecast")
        axis.set_ylabel(column)
        axis.legend(frameon=False, fontsize=8)
        concise_dates(axis)
    return made


def by_step(forecasts: Forecasts) -> Figure:
    """Mean absolute error of each step of the horizon."""
    error = (forecasts.point - forecasts.target).abs().nanmean(dim=(0, 2)).numpy()
    text = f"Mean absolute error by step: {error[0]:.3f} at the first, {error[-1]:.3f} at the last"
    with figure(text, "Error by horizon (standardised units).", size=(5.2, 2.7)) as (axis, made):
        axis.plot(np.arange(1, len(error) + 1), error)
        axis.set_ylim(bottom=0)
        axis.set_xlabel("steps ahead")
        axis.set_ylabel("mean absolute error")
    return made


def by_hour(forecasts: Forecasts) -> Figure:
    """Mean absolute error by hour of the day."""
    error = (forecasts.point - forecasts.target).abs().nanmean(dim=2).numpy()
    first = np.array([forecasts.stamps(n)[0].hour for n in range(len(forecasts))])
    steps = np.arange(error.shape[1]) * {"h": 60, "30min": 30, "15min": 15}[forecasts.panel.freq] // 60
    hours = (first[:, None] + steps) % 24
    mean = np.array([np.nanmean(error[hours == h]) if (hours == h).any() else np.nan for h in range(24)])
    worst = int(np.nanargmax(mean))
    with figure(
        f"Mean absolute error by hour of the day, largest at {worst}:00",
        "Error by hour of the day (standardised units).",
        size=(5.2, 2.7),
    ) as (axis, made):
        axis.bar(np.arange(24), mean, width=0.8)
        axis.set_xlabel("hour of the day")
        axis.set_ylabel("mean absolute error")
    return made
