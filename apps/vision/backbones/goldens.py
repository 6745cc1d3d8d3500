"""The backbones' table for `omnimix verify`: system -> official class -> how it is built, filled and called here."""

__all__ = ["GOLDENS"]

from apps.vision.backbones.goldens_biformer import BIFORMER
from apps.vision.backbones.goldens_convnext import CONVNEXT
from apps.vision.backbones.goldens_crossformer import CROSSFORMER
from apps.vision.backbones.goldens_cswin import CSWIN
from apps.vision.backbones.goldens_davit import DAVIT
from apps.vision.backbones.goldens_hornet import HORNET
from apps.vision.backbones.goldens_maxvit import MAXVIT
from apps.vision.backbones.goldens_metaformer import METAFORMER
from apps.vision.backbones.goldens_mit import MIT
from apps.vision.backbones.goldens_nat import DINAT
from apps.vision.backbones.goldens_rmt import RMT_TABLE
from apps.vision.backbones.goldens_squeezed import EFFICIENTVIT, SHVIT
from apps.vision.backbones.goldens_swin import SWIN
from core.verify import Golden

GOLDENS: dict[str, dict[str, Golden]] = {
    "biformer": BIFORMER,
    "convnext": CONVNEXT,
    "dinat": DINAT,
    "hornet": HORNET,
    "metaformer": METAFORMER,
    "mit": MIT,
    "cswin": CSWIN,
    "davit": DAVIT,
    "rmt": RMT_TABLE,
    "crossformer": CROSSFORMER,
    "efficientvit_msra": EFFICIENTVIT,
    "shvit": SHVIT,
    "maxvit": MAXVIT,
    "swin": SWIN,
}
