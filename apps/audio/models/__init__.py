"""Separation networks: a mixture (B, T) and its lengths in, one waveform a speaker (B, S, T) out; no Lightning.

checkpoints    weights of the releases
conv_tasnet    dilated convolutions (Conv-TasNet)
dprnn          recurrent networks within and across chunks (DPRNN)
dual_path      what networks of chunks share
export         networks trained here as files of a release
layers         layers of MossFormer and MossFormer2, and their stack
lmuformer      the layer of LMUFormer, another layer of a separator
mossformer     MossFormer and MossFormer2 and their sizes
patch_encoder  spectrogram patches (AST, SSAST), pre-trained by hiding some
sepformer      transformers within and across chunks (SepFormer)
waveform       what separators share: encoder, mask network, decoder
"""

__all__ = [
    "DPRNN",
    "ConvTasNet",
    "MaskNetwork",
    "MossFormer",
    "MossFormer2",
    "SepFormer",
    "SeparationNetwork",
    "conv_tasnet_base",
    "dprnn",
    "load_release",
    "mossformer2",
    "mossformer_large",
    "mossformer_medium",
    "mossformer_small",
]

from apps.audio.models.checkpoints import load_release
from apps.audio.models.conv_tasnet import ConvTasNet, conv_tasnet_base
from apps.audio.models.dprnn import DPRNN
from apps.audio.models.mossformer import (
    MossFormer,
    MossFormer2,
    mossformer2,
    mossformer_large,
    mossformer_medium,
    mossformer_small,
)
from apps.audio.models.sepformer import SepFormer
from apps.audio.models.waveform import MaskNetwork, SeparationNetwork
