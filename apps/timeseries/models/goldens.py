"""The app's table for `omnimix verify`: system -> official class -> how it is built, filled and called here."""

__all__ = ["GOLDENS"]

from apps.timeseries.models.goldens_gateformer import GATEFORMER
from apps.timeseries.models.goldens_itransformer import ITRANSFORMER
from apps.timeseries.models.goldens_metrics import FORECAST_METRICS
from apps.timeseries.models.goldens_patchtsmixer import PATCHTSMIXER
from apps.timeseries.models.goldens_patchtst import PATCHTST
from apps.timeseries.models.goldens_timexer import DLINEAR, TIMEXER

GOLDENS = {
    "dlinear": DLINEAR,
    "forecast_metrics": FORECAST_METRICS,
    "gateformer": GATEFORMER,
    "itransformer": ITRANSFORMER,
    "patchtsmixer": PATCHTSMIXER,
    "patchtst": PATCHTST,
    "timexer": TIMEXER,
}
