"""Forecasts without training, for every table."""

__all__ = ["PERIODS", "epf_naive", "seasonal_naive"]

import torch

from apps.timeseries.forecasts import Forecasts

# Seasonal period of a frequency in steps: the day for what is finer, the week for days, the year for months.
PERIODS = {
    "h": 24,
    "30min": 48,
    "15min": 96,
    "10min": 144,
    "5min": 288,
    "min": 1440,
    "D": 7,
    "W": 52,
    "MS": 12,
    "ME": 12,
}


def with_point(forecasts: Forecasts, point: torch.Tensor) -> Forecasts:
    """The same windows with another forecast."""
    return Forecasts(point, forecasts.target, forecasts.item, forecasts.start, forecasts.panel, forecasts.scaler)


def seasonal_naive(forecasts: Forecasts, lag: int) -> Forecasts:
    """What was observed `lag` steps before; a lag below the horizon is repeated."""
    horizon = forecasts.point.shape[1]
    whole = -(-horizon // lag) * lag
    if whole == lag:
        return with_point(forecasts, forecasts.lagged(lag))
    # Step h sees the last whole season: lag it by the smallest multiple of the period that lies in the past.
    lagged = [forecasts.lagged(lag * n) for n in range(1, whole // lag + 1)]
    parts = [lagged[h // lag][:, h] for h in range(horizon)]
    return with_point(forecasts, torch.stack(parts, 1))


def epf_naive(forecasts: Forecasts) -> Forecasts:
    """The naive forecast of electricity prices: yesterday from Tuesday to Friday, a week ago on the other days."""
    week, day = forecasts.lagged(168), forecasts.lagged(24)
    steps = range(len(forecasts))
    weekday = torch.stack([torch.tensor(forecasts.stamps(n).weekday.to_numpy()) for n in steps])
    from_yesterday = (weekday >= 1) & (weekday <= 4)
    return with_point(forecasts, torch.where(from_yesterday.unsqueeze(-1), day, week))
