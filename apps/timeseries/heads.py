"""What a network says about each future step: a point, quantiles, or a distribution.

A network computes `raw (B, H, K, head.size)` in its normalised space and returns
`head.finish(raw, loc, scale)`, with `loc, scale (B, 1, K)` the statistics it normalised the window by (0 and 1 where
it did not).  From there on only the head knows what the numbers mean.
"""

__all__ = ["Distribution", "Head", "Point", "Quantiles"]

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:  # gluonts takes a second to import, and most heads do without it
    from gluonts.torch.distributions import DistributionOutput


class Head(nn.Module):
    """Base class: `size` raw numbers per step and what is done with them.

    Args:
        size: raw numbers a network has to produce per step and target.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def finish(self, raw: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        """Raw numbers `(B, H, K, size)` to a prediction in the units of the input."""
        raise TypeError(f"{type(self).__name__} must define finish")

    def loss(self, prediction: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """Mean loss over the observed entries of `target (B, H, K)`."""
        raise TypeError(f"{type(self).__name__} must define loss")

    def quantiles(self, prediction: Tensor, levels: Sequence[float]) -> Tensor:
        """Quantiles `(B, H, K, len(levels))` of the forecast."""
        raise TypeError(f"{type(self).__name__} must define quantiles")

    def point(self, prediction: Tensor) -> Tensor:
        """The point forecast `(B, H, K)`: the median unless the head has a better one."""
        return self.quantiles(prediction, [0.5])[..., 0]


def masked_mean(values: Tensor, observed: Tensor) -> Tensor:
    """Mean over observed entries; 0 (with a gradient) where there are none."""
    return (values * observed).sum() / observed.sum().clamp(min=1)


class Point(Head):
    """One number a step.

    Args:
        criterion: elementwise loss `(prediction, target, reduction="none")`; squared error as in the papers.
    """

    def __init__(self, criterion: Callable[..., Tensor] = F.mse_loss):
        super().__init__(1)
        self.criterion = criterion

    def finish(self, raw: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        return raw[..., 0] * scale + loc

    def loss(self, prediction: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        return masked_mean(self.criterion(prediction, target, reduction="none"), observed)

    def quantiles(self, prediction: Tensor, levels: Sequence[float]) -> Tensor:
        raise ValueError(
            "a point forecast has no quantiles; train with a Quantiles or Distribution head or add conformal intervals"
        )

    def point(self, prediction: Tensor) -> Tensor:
        return prediction


def smooth_l1(prediction: Tensor, target: Tensor, reduction: str = "none") -> Tensor:
    """Smooth L1 with its corner at a tenth of a standard deviation: nearly the absolute error, smooth at zero.

    A corner at 0.5 gives the same squared error on day-ahead prices and 2 % more absolute error.
    """
    return F.smooth_l1_loss(prediction, target, reduction=reduction, beta=0.1)


class Quantiles(Head):
    """Quantiles by the pinball loss, sorted so that they never cross.

    The loss is 2 |(y - q) (1[y <= q] - tau)| averaged over levels, so that at tau = 1/2 it is the absolute error.

    Args:
        levels: increasing probabilities in (0, 1).
    """

    def __init__(self, levels: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)):
        levels = tuple(float(level) for level in levels)
        if not levels or sorted(set(levels)) != list(levels) or not 0 < levels[0] <= levels[-1] < 1:
            raise ValueError(f"quantile levels {list(levels)} must increase inside (0, 1)")
        super().__init__(len(levels))
        self.levels = levels

    def finish(self, raw: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        return (raw * scale.unsqueeze(-1) + loc.unsqueeze(-1)).sort(dim=-1).values

    def loss(self, prediction: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        error = target.unsqueeze(-1) - prediction
        tau = error.new_tensor(self.levels)
        return masked_mean(2 * torch.maximum(tau * error, (tau - 1) * error).mean(-1), observed)

    def quantiles(self, prediction: Tensor, levels: Sequence[float]) -> Tensor:
        """Linear between the trained levels; the outermost ones are held beyond them."""
        own = prediction.new_tensor(self.levels)
        asked = prediction.new_tensor(list(levels)).clamp(own[0], own[-1])
        above = torch.searchsorted(own, asked).clamp(1, len(self.levels) - 1) if self.size > 1 else None
        if above is None:
            return prediction.expand(*prediction.shape[:-1], len(levels))
        weight = (asked - own[above - 1]) / (own[above] - own[above - 1])
        return torch.lerp(prediction[..., above - 1], prediction[..., above], weight)


class Distribution(Head):
    """Any gluonts distribution (`StudentTOutput`, `NormalOutput`, `NegativeBinomialOutput`, ...).

    The prediction is `(B, H, K, size + 2)`: the arguments after their domain maps, then loc and scale.

    Args:
        output: a gluonts `DistributionOutput` for univariate steps.
    """

    def __init__(self, output: "DistributionOutput"):
        super().__init__(sum(output.args_dim.values()))
        if output.event_shape != ():
            raise ValueError(f"{type(output).__name__} is not a distribution of single values")
        self.output = output

    def finish(self, raw: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        parts = raw.split(list(self.output.args_dim.values()), dim=-1)
        args = [a.unsqueeze(-1) if a.dim() < raw.dim() else a for a in self.output.domain_map(*parts)]
        ends = [loc.unsqueeze(-1), scale.unsqueeze(-1)]
        return torch.cat(args + [end.expand(*raw.shape[:-1], 1) for end in ends], dim=-1)

    def distribution(self, prediction: Tensor) -> torch.distributions.Distribution:
        """The torch distribution over `(B, H, K)`."""
        *parts, loc, scale = prediction.split([*self.output.args_dim.values(), 1, 1], dim=-1)
        # Clones, because gluonts' negative binomial adds log(scale) to its argument in place.
        args = [p.squeeze(-1).clone() for p in parts]
        return self.output.distribution(args, loc=loc.squeeze(-1), scale=scale.squeeze(-1))

    def loss(self, prediction: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        return masked_mean(-self.distribution(prediction).log_prob(target), observed)

    def quantiles(self, prediction: Tensor, levels: Sequence[float]) -> Tensor:
        """By the inverse distribution function, or from 1,000 seeded samples where the distribution has none."""
        distribution = self.distribution(prediction.detach())
        try:
            return torch.stack([distribution.icdf(prediction.new_tensor(level)) for level in levels], dim=-1)
        except (NotImplementedError, AttributeError):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                samples = distribution.sample(torch.Size([1000]))
            return torch.quantile(samples, prediction.new_tensor(list(levels)), dim=0).movedim(0, -1)

    def point(self, prediction: Tensor) -> Tensor:
        return self.distribution(prediction).mean
