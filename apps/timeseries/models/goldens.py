"""The app's table for `omnimix verify`: system -> official class -> how it is built, filled and called here."""

__all__ = ["GOLDENS"]

from apps.timeseries.models.goldens_timexer import DLINEAR, TIMEXER

GOLDENS = {"timexer": TIMEXER, "dlinear": DLINEAR}
