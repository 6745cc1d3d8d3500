"""The networks' table for `omnimix verify`: system -> official class -> how it is built, filled and called here."""

__all__ = ["GOLDENS"]

from apps.vision.superres.models.goldens_dlgsanet import DLGSANET
from apps.vision.superres.models.goldens_drct import DRCT_TABLE
from apps.vision.superres.models.goldens_drsformer import DRSFORMER
from apps.vision.superres.models.goldens_edsr import EDSR_TABLE
from apps.vision.superres.models.goldens_hat import HAT_TABLE
from apps.vision.superres.models.goldens_rgt import RGT_TABLE
from apps.vision.superres.models.goldens_swinir import SWINIR

GOLDENS = {
    "dlgsanet": DLGSANET,
    "drct": DRCT_TABLE,
    "drsformer": DRSFORMER,
    "edsr": EDSR_TABLE,
    "hat": HAT_TABLE,
    "rgt": RGT_TABLE,
    "swinir": SWINIR,
}
