"""The networks' table for `omnimix verify`: system -> official class -> how it is built, filled and called here."""

__all__ = ["GOLDENS"]

from apps.audio.models.goldens_baselines import DPRNN, SEPFORMER
from apps.audio.models.goldens_mossformer import MOSSFORMER, MOSSFORMER2
from apps.audio.models.goldens_parts import AST_ADAPTERS, LMU

GOLDENS = {
    "ast_adapters": AST_ADAPTERS,
    "dprnn": DPRNN,
    "lmu": LMU,
    "lmuformer": LMU,
    "mossformer": MOSSFORMER,
    "mossformer2": MOSSFORMER2,
    "sepformer": SEPFORMER,
}
