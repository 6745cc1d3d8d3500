"""Published variants as classes of spandrel, and the peak memory of a training step in a process of its own.

python -m benchmarks.peers.superres ours|release NAME      prints bytes above what the process held before
"""

__all__ = ["release", "training_peak"]

import resource
import sys
from pathlib import Path

import torch
from torch import nn

# Constructor arguments of the releases' configurations, x4.
_COMMON = {"img_size": 64, "mlp_ratio": 2, "upscale": 4, "upsampler": "pixelshuffle"}
_SIX = {"depths": [6] * 6, "num_heads": [6] * 6}
_HAT = _COMMON | _SIX | {"window_size": 16, "overlap_ratio": 0.5}
_SMALL = {"embed_dim": 144, "compress_ratio": 24, "squeeze_factor": 24}
_FULL = {"embed_dim": 180, "compress_ratio": 3, "squeeze_factor": 30}


def release(name: str) -> nn.Module:
    """The network of a release as spandrel has it."""
    from spandrel.architectures.DRCT import DRCT
    from spandrel.architectures.HAT import HAT
    from spandrel.architectures.SwinIR import SwinIR

    light = {"embed_dim": 60, "depths": [6] * 4, "num_heads": [6] * 4, "upsampler": "pixelshuffledirect"}
    makers = {
        "HAT-S": lambda: HAT(**_HAT, **_SMALL),
        "HAT": lambda: HAT(**_HAT, **_FULL),
        "DRCT": lambda: DRCT(**_COMMON, **_SIX, window_size=16, embed_dim=180, gc=32),
        "SwinIR": lambda: SwinIR(**_COMMON, **_SIX, window_size=8, embed_dim=180),
        "SwinIR light": lambda: SwinIR(**(_COMMON | light), window_size=8),
    }
    return makers[name]()


def training_peak(network: nn.Module) -> int:
    """Bytes that a step (64 x 64, L1) needs at most above what the process holds before it."""
    image, target = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 256, 256)
    network.train()
    held = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    (network(image) - target).abs().mean().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - held


if __name__ == "__main__":
    torch.set_num_threads(1)
    side, variant = sys.argv[1:]
    if side == "ours":
        from apps.vision.superres.models.hat import hat_small

        print(training_peak(hat_small(4)))
    else:
        print(training_peak(release(variant)))
