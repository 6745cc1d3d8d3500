"""The networks' table for `omnimix verify`: system -> official class -> how it is built, filled and called here."""

__all__ = ["GOLDENS"]

from apps.vision.superres.models.goldens_dlgsanet import DLGSANET
from apps.vision.superres.models.goldens_drsformer import DRSFORMER
from apps.vision.superres.models.goldens_edsr import EDSR_TABLE

GOLDENS = {
    "dlgsanet": DLGSANET,
    "drsformer": DRSFORMER,
    "edsr": EDSR_TABLE,
}
