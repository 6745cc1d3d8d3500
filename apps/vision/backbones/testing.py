"""What every backbone must hold, for users' own ones too: `check_backbone(lambda: Swin(8, (1, 2), (1, 2)))`."""

__all__ = ["check_backbone"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from apps.vision.backbones.base import Backbone


def check_backbone(
    make: Callable[[], Backbone],
    sizes: Sequence[tuple[int, int]] = ((1, 1), (7, 31), (33, 1), (97, 61)),
    *,
    channels: int = 3,
    masked: bool = True,
) -> None:
    """Any size works, samples do not meet, and, with a mask, nothing depends on what is padding.

    Args:
        make: a small backbone.
        sizes: of the images.
        channels: of the images.
        masked: whether it must take a mask; it must refuse one otherwise.

    Raises:
        AssertionError: with the property that does not hold.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = make().double().eval()
        name = type(backbone).__name__
        for size in sizes:
            x = torch.randn(2, channels, *size, dtype=torch.float64, requires_grad=True)
            features = backbone(x)
            grids = [(2, *(-(-n // s) for n in size), c) for s, c in _levels(backbone)]
            assert [tuple(f.shape) for f in features] == grids, f"{name}: shapes of the features of {size}"
            (gradient,) = torch.autograd.grad(sum(f.square().sum() for f in features), x)
            assert gradient.isfinite().all() and gradient.any(), f"{name}: gradient on {size}"
            with torch.no_grad():
                _close(backbone(x[1:]), [f[1:] for f in features], f"{name}: a sample of {size} alone")
                if masked:
                    _check_padding(backbone, x.detach(), features)
        if not masked:
            _check_refusal(backbone, x.detach())


def _levels(backbone: Backbone) -> list[tuple[int, int]]:
    return list(zip(backbone.strides, backbone.channels, strict=True))


def _check_padding(backbone: Backbone, x: Tensor, features: Sequence[Tensor]) -> None:
    name, (height, width) = type(backbone).__name__, x.shape[2:]
    for fill in (1e3, torch.nan):
        wide = torch.full((*x.shape[:2], height + 5, width + 18), fill, dtype=x.dtype)
        wide[:, :, :height, :width] = x
        mask = torch.zeros(len(x), *wide.shape[2:], dtype=torch.bool)
        mask[:, :height, :width] = True
        inside = [
            f[:, : own.shape[1], : own.shape[2]] for f, own in zip(backbone(wide, mask=mask), features, strict=True)
        ]
        _close(inside, features, f"{name}: padding of {fill} appended to {(height, width)}")


def _check_refusal(backbone: Backbone, x: Tensor) -> None:
    try:
        backbone(x, mask=torch.ones(len(x), *x.shape[2:], dtype=torch.bool))
    except ValueError:
        return
    raise AssertionError(f"{type(backbone).__name__}: a mask is neither used nor refused")


def _close(ours: Sequence[Tensor], theirs: Sequence[Tensor], what: str) -> None:
    for level, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        error = (a - b).abs().max().item() if a.numel() else 0.0
        assert error <= 1e-9 * max(1.0, b.abs().max().item()), f"{what}: level {level} differs by {error:.1e}"
