"""The networks' table for `omnimix verify`: system -> official class -> how it is built, filled and called here."""

__all__ = ["GOLDENS"]

from apps.pointcloud.models.goldens_flatformer import FLATFORMER_ENCODER
from apps.pointcloud.models.goldens_heads import HEADS
from apps.pointcloud.models.goldens_openpcdet import FLATFORMER, OPENPCDET
from apps.pointcloud.models.goldens_scatterformer import SCATTERFORMER

GOLDENS = {
    "flatformer": FLATFORMER | FLATFORMER_ENCODER,
    "openpcdet": OPENPCDET | HEADS,
    "scatterformer": SCATTERFORMER,
}
