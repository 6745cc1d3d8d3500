"""Separation networks: a mixture (B, T) and its lengths in, one waveform a speaker (B, S, T) out; no Lightning.

layers       layers of MossFormer and MossFormer2, and their stack
lmuformer    the layer of LMUFormer, another layer of a separator
mossformer   the published networks and their sizes
waveform     what separators share: encoder, mask network, decoder
checkpoints  weights of the releases
"""

__all__ = [
    "MaskNetwork",
    "MossFormer",
    "MossFormer2",
    "SeparationNetwork",
    "load_release",
    "mossformer2",
    "mossformer_large",
    "mossformer_medium",
    "mossformer_small",
]

from apps.audio.models.checkpoints import load_release
from apps.audio.models.mossformer import (
    MossFormer,
    MossFormer2,
    mossformer2,
    mossformer_large,
    mossformer_medium,
    mossformer_small,
)
from apps.audio.models.waveform import MaskNetwork, SeparationNetwork
