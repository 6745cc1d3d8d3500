"""The networks' table for `omnimix verify`: system -> official class -> how it is built, filled and called here."""

__all__ = ["GOLDENS"]

from apps.pointcloud.models.goldens_openpcdet import FLATFORMER, OPENPCDET

GOLDENS = {
    "flatformer": FLATFORMER,
    "openpcdet": OPENPCDET,
}
