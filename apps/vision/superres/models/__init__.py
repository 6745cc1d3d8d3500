"""Networks of super-resolution and restoration: images in, images out, no Lightning.

All take (B, channels, H, W) in [0, 1] of any size and give (B, channels, scale H, scale W), not clamped.
"""

from apps.vision.superres.models.residual import ResidualSR

__all__ = ["ResidualSR"]
