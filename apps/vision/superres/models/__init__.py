"""Networks of super-resolution and restoration: images in, images out, no Lightning.

All take (B, channels, H, W) in [0, 1] of any size and give (B, channels, scale H, scale W), not clamped. The published
sizes are functions of the scale, such as `hat_small`.
"""

from apps.vision.superres.models.checkpoints import load_release
from apps.vision.superres.models.dlgsanet import DLGSANet, dlgsanet_large, dlgsanet_light, dlgsanet_tiny
from apps.vision.superres.models.drct import DRCT, drct, drct_large
from apps.vision.superres.models.drsformer import DRSformer, drsformer, drsformer_light
from apps.vision.superres.models.edsr import EDSR, edsr_base, edsr_large, edsr_small
from apps.vision.superres.models.hat import HAT, hat, hat_large, hat_small
from apps.vision.superres.models.residual import ResidualSR
from apps.vision.superres.models.rgt import RGT, rgt, rgt_small
from apps.vision.superres.models.swinir import (
    SwinIR,
    swinir,
    swinir_artefacts,
    swinir_denoise,
    swinir_light,
    swinir_real,
    swinir_real_large,
)

__all__ = [
    "DRCT",
    "EDSR",
    "HAT",
    "RGT",
    "DLGSANet",
    "DRSformer",
    "ResidualSR",
    "SwinIR",
    "dlgsanet_large",
    "dlgsanet_light",
    "dlgsanet_tiny",
    "drct",
    "drct_large",
    "drsformer",
    "drsformer_light",
    "edsr_base",
    "edsr_large",
    "edsr_small",
    "hat",
    "hat_large",
    "hat_small",
    "load_release",
    "rgt",
    "rgt_small",
    "swinir",
    "swinir_artefacts",
    "swinir_denoise",
    "swinir_light",
    "swinir_real",
    "swinir_real_large",
]
