"""How PatchTSMixer scales a window: standard deviation, mean magnitude, not at all.

In the form of transformers 5.23: `StdScaler` x' = (x - loc) / scale with loc the mean and scale = sqrt(var + 1e-5)
over observed steps (biased, nothing detached); `MeanScaler` x' = x / scale with scale = mean |x| over observed steps,
at least 1e-10; `NoScaler` x' = x.

Decided differently: an unobserved value is 0 after scaling, whatever stood there (the release scales what it finds,
a zero becomes -loc / scale), and a series without any observed step has loc 0 and scale 1 (the release's std scaler
has sqrt(1e-5) there, its mean scaler the average over the batch, so that a forecast depends on its neighbours).
`as_released=True` does what the release does.
"""

__all__ = ["MeanScaler", "NoScaler", "Scaler", "StdScaler"]

import torch
from torch import Tensor, nn


class Scaler(nn.Module):
    """Base class: `(x (B, L, C), observed bool or None) -> (scaled, loc (B, 1, C), scale (B, 1, C))`.

    As released, `observed` may be any weight, with a gradient.

    Args:
        as_released: treat unobserved values as the release does.
    """

    def __init__(self, as_released: bool = False):
        super().__init__()
        self.as_released = as_released

    def forward(self, x: Tensor, observed: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        if observed is not None and not self.as_released:
            x = x.masked_fill(~observed, 0)
        loc, scale = self.statistics(x, observed)
        scaled = (x - loc) / scale
        if observed is not None and not self.as_released:
            scaled = scaled.masked_fill(~observed, 0)
            empty = ~observed.any(1, keepdim=True)
            loc, scale = loc.masked_fill(empty, 0), scale.masked_fill(empty, 1)
        return scaled, loc, scale

    def statistics(self, x: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor]:
        """loc and scale `(B, 1, C)`."""
        raise TypeError(f"{type(self).__name__} must define statistics")


class StdScaler(Scaler):
    """Mean and standard deviation over observed steps."""

    def statistics(self, x: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor]:
        if observed is None:
            variance, loc = torch.var_mean(x, 1, correction=0, keepdim=True)
        else:
            count = observed.sum(1, keepdim=True).clamp(min=1)
            loc = (x * observed).sum(1, keepdim=True) / count
            variance = ((x - loc) * observed).square().sum(1, keepdim=True) / count
        return loc, (variance + 1e-5).sqrt()


class MeanScaler(Scaler):
    """Mean magnitude over observed steps; loc is 0."""

    def statistics(self, x: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor]:
        if observed is None:
            scale = x.abs().mean(1, keepdim=True)
        else:
            total, count = (x * observed).abs().sum(1, keepdim=True), observed.sum(1, keepdim=True)
            scale = total / count.clamp(min=1)
            if self.as_released:
                neighbours = total.sum(0, keepdim=True) / count.sum(0, keepdim=True).clamp(min=1)
                scale = torch.where(count > 0, scale, neighbours)
        return torch.zeros_like(scale), scale.clamp(min=1e-10)


class NoScaler(Scaler):
    """The window as it is."""

    def statistics(self, x: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor]:
        loc = x.new_zeros(x.shape[0], 1, x.shape[2])
        return loc, torch.ones_like(loc)
