"""DLinear: one Linear for the trend, one for the rest.

Zeng et al., "Are Transformers Effective for Time Series Forecasting?", AAAI 2023.  The trend is a moving average whose
window is completed by repeating both ends; y = W_s (x - trend) + W_t trend, weights started at 1 / L.

Equal to the release (Time-Series-Library 4e938a1).  Decided differently: an even kernel is refused with a sentence
(the release ends in a shape error), several heads, missing values are filled by the last value seen.
"""

__all__ = ["DLinear", "moving_average"]

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from apps.timeseries.heads import Head, Point


def moving_average(x: Tensor, kernel: int) -> Tensor:
    """Mean over `kernel` (odd) steps around each step of `x (B, L, C)`, both ends repeated."""
    if kernel % 2 == 0:
        raise ValueError(f"kernel {kernel} is even; a centred moving average needs an odd one")
    half = kernel // 2
    padded = F.pad(x.transpose(1, 2), (half, half), mode="replicate")
    return F.avg_pool1d(padded, kernel, stride=1).transpose(1, 2)


def fill_forward(x: Tensor, observed: Tensor) -> Tensor:
    """Each missing value of `x (B, L, C)` by the last one seen, or by the first one where none came before."""
    steps = torch.arange(x.shape[1], device=x.device)[None, :, None]
    last = torch.where(observed, steps, -1).cummax(1).values
    first = torch.where(observed, steps, x.shape[1]).amin(1, keepdim=True).clamp(max=x.shape[1] - 1)
    return x.masked_fill(~observed, 0).gather(1, torch.where(last < 0, first, last))


class DLinear(nn.Module):
    """The network; inputs and outputs as `apps.timeseries.models` says.

    Args:
        context_length: look-back L.
        prediction_length: horizon H.
        target_dim: number of targets K.
        kernel: odd width of the moving average.
        individual: own weights for each target.
        head: what the forecast is.
    """

    def __init__(
        self,
        context_length: int,
        prediction_length: int,
        *,
        target_dim: int = 1,
        kernel: int = 25,
        individual: bool = False,
        head: Head | None = None,
    ):
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel {kernel} is even; a centred moving average needs an odd one")
        self.context_length, self.prediction_length = context_length, prediction_length
        self.kernel, self.target_dim = kernel, target_dim
        self.head = head or Point()
        maps, outputs = (target_dim if individual else 1), prediction_length * self.head.size
        bound = context_length**-0.5
        self.seasonal_weight = nn.Parameter(torch.full((maps, outputs, context_length), 1 / context_length))
        self.seasonal_bias = nn.Parameter(torch.empty(maps, outputs).uniform_(-bound, bound))
        self.trend_weight = nn.Parameter(torch.full((maps, outputs, context_length), 1 / context_length))
        self.trend_bias = nn.Parameter(torch.empty(maps, outputs).uniform_(-bound, bound))

    def forward(self, past_target: Tensor, *, past_observed_values: Tensor | None = None) -> Tensor:
        """The forecast `(B, H, K)`, or `(B, H, K, A)` with a head of more than one number.

        Raises:
            ValueError: another look-back or number of targets.
        """
        if past_target.shape[1:] != (self.context_length, self.target_dim):
            raise ValueError(
                f"past_target is {tuple(past_target.shape[1:])}, expected ({self.context_length}, {self.target_dim}): "
                "steps of the look-back, targets"
            )
        x = past_target if past_observed_values is None else fill_forward(past_target, past_observed_values)
        trend = moving_average(x, self.kernel)
        rest = (x - trend).permute(2, 0, 1)  # (K, B, L) against (1 or K, outputs, L)
        raw = rest @ self.seasonal_weight.mT + trend.permute(2, 0, 1) @ self.trend_weight.mT
        raw = raw + (self.seasonal_bias + self.trend_bias).unsqueeze(1)
        raw = raw.permute(1, 0, 2).unflatten(2, (self.prediction_length, self.head.size)).transpose(1, 2)
        ends = x.new_zeros(x.shape[0], 1, self.target_dim)
        return self.head.finish(raw, ends, ends + 1)
