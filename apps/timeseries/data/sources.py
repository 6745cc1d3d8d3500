"""Where a data module takes its series from, with the published split of each.

A source is named in YAML by `class_path`; a user's own table needs none, `ForecastData` reads it from `path`.
"""

__all__ = ["EPF", "ETT", "GluontsSet", "Simulated", "Source"]

from dataclasses import replace

from .epf import paper_split, read_epf
from .ett import COLUMNS, ett_split, read_ett
from .generator import simulate_prices
from .repository import read_repository
from .series import Panel
from .splits import Split, last_rows, proportions


class Source:
    """Base class: `panel()` reads the series, `split(panel)` says which rows are forecast where."""

    label = "series"

    def panel(self) -> Panel:
        """All series."""
        raise TypeError(f"{type(self).__name__} must define panel")

    def split(self, panel: Panel) -> Split:
        """Training, validation and test; 70, 10 and 20 per cent of each series by default."""
        return proportions(panel, 0.7, 0.2)


class EPF(Source):
    """One of the five day-ahead electricity price sets with the paper protocol's split.

    Args:
        name: NP, PJM, BE, FR or DE.
        path: folder of the files; `timeseries/epf` below $OMNIMIX_DATA or `data` by default.
        past_only: show the two covariates over the look-back only, as the TimeXer line of papers does, although they
            are forecasts published for the hours to be predicted.
    """

    def __init__(self, name: str = "NP", path: str | None = None, past_only: bool = False):
        self.name, self.path, self.past_only = name, path, past_only
        self.label = f"EPF {name}"

    def panel(self) -> Panel:
        panel = read_epf(self.name, self.path)
        if self.past_only:
            panel = replace(panel, past_only=panel.known_future, known_future=())
        return panel

    def split(self, panel: Panel) -> Split:
        return paper_split(panel)


class ETT(Source):
    """Transformer oil temperature (ETTh1, ETTh2, ETTm1, ETTm2) with the papers' 12, 4 and 4 months.

    Args:
        name: of the set.
        path: folder of the files; `timeseries/ett` below $OMNIMIX_DATA or `data` by default.
        target: columns to forecast, all seven by default; the others are past covariates.
    """

    def __init__(self, name: str = "ETTh1", path: str | None = None, target: list[str] = list(COLUMNS)):  # noqa: B006
        self.name, self.path, self.target = name, path, target
        self.label = name

    def panel(self) -> Panel:
        return read_ett(self.name, self.path, self.target)

    def split(self, panel: Panel) -> Split:
        return ett_split(panel, self.name)


class GluontsSet(Source):
    """A set of gluonts' online repository; the last horizon of each series is the test, the one before validation.

    Sets with several test windows a series are tested on the last steps of their training part.

    Args:
        name: as gluonts has it, "m4_hourly" or "electricity".
    """

    def __init__(self, name: str):
        self.name = self.label = name
        self.horizon = 0

    def panel(self) -> Panel:
        found = read_repository(self.name)
        self.horizon = found.prediction_length
        return found.test if len(found.test) == len(found.train) else found.train

    def split(self, panel: Panel) -> Split:
        return last_rows(panel, self.horizon, self.horizon)


class Simulated(Source):
    """Built-in hourly prices driven by load and wind forecasts (`generator.simulate_prices`): nothing to download.

    Args:
        series: how many, of unequal length.
        days: length of the longest.
        seed: of the simulation.
    """

    label = "built-in prices"

    def __init__(self, series: int = 3, days: int = 365, seed: int = 0):
        self.series, self.days, self.seed = series, days, seed

    def panel(self) -> Panel:
        return simulate_prices(self.series, self.days, self.seed).panel
