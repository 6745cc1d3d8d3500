"""Official classes of segmentation systems, for `omnimix verify`."""

__all__ = ["GOLDENS"]

from apps.vision.segmentation.models.goldens_dformer import DFORMER
from apps.vision.segmentation.models.goldens_heads import HEADS
from apps.vision.segmentation.models.goldens_interformer import INTERFORMER
from apps.vision.segmentation.models.goldens_isomer import ISOMER
from apps.vision.segmentation.models.goldens_kmax import KMAX_GOLDENS
from apps.vision.segmentation.models.goldens_p2at import P2AT_GOLDENS
from apps.vision.segmentation.models.goldens_self_guided import SELF_GUIDED
from apps.vision.segmentation.models.goldens_transkd import TRANSKD

GOLDENS = {
    "seg_heads": HEADS,
    "p2at": P2AT_GOLDENS,
    "transkd": TRANSKD,
    "multiscale_attention": SELF_GUIDED,
    "isomer": ISOMER,
    "kmax": KMAX_GOLDENS,
    "dformer": DFORMER,
    "interformer": INTERFORMER,
}
