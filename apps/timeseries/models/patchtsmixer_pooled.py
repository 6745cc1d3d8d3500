"""PatchTSMixer for a label or for numbers of a whole window: classification and regression.

In the form of transformers 5.23 (`PatchTSMixerForTimeSeriesClassification`, `PatchTSMixerForRegression`): the
scaler's loc and scale of every channel are put back into its features (stats 2 -> 4 -> 2, concatenated, dim + 2 ->
2 dim -> dim, all linear), patches are pooled or kept, all channels flattened, one Linear gives the outputs; numbers
may be squeezed into a range by a sigmoid.  The loss is cross entropy for scores, the head's loss for numbers.

Decided differently: missing values are masked (the release takes none here); with a distribution over one number the
loss is of each sample with its own target (the release broadcasts to the mean over all pairs of samples).
"""

__all__ = ["PatchTSMixerPooled", "last_patch", "max_pool", "mean_pool"]

from collections.abc import Callable

import torch
from torch import Tensor, nn

from apps.timeseries.heads import Head, Point
from apps.timeseries.models.patchtsmixer import PatchTSMixerBackbone, start
from apps.timeseries.models.patchtsmixer_scalers import NoScaler, Scaler, StdScaler
from core.ops.dropout import dropout


def last_patch(x: Tensor) -> Tensor:
    """The newest patch of `(B, C, P, dim)`."""
    return x[:, :, -1]


def max_pool(x: Tensor) -> Tensor:
    """The largest over patches of `(B, C, P, dim)`."""
    return x.max(2).values


def mean_pool(x: Tensor) -> Tensor:
    """The mean over patches of `(B, C, P, dim)`."""
    return x.mean(2)


class StatisticsInjection(nn.Module):
    """Puts a window's loc and scale into the features it was scaled away from.

    Args:
        dim: features.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.expand_statistics, self.contract_statistics = nn.Linear(2, 4), nn.Linear(4, 2)
        self.expand, self.contract = nn.Linear(dim + 2, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        """x `(B, C, P, dim)`, loc and scale `(B, 1, C)`."""
        statistics = torch.stack([loc, scale], -1).squeeze(1)  # (B, C, 2)
        statistics = self.contract_statistics(self.expand_statistics(statistics))
        statistics = statistics.unsqueeze(2).expand(-1, -1, x.shape[2], -1)
        return self.contract(self.expand(torch.cat([x, statistics], -1)))


class PatchTSMixerPooled(nn.Module):
    """Outputs for a whole window.

    Args:
        context_length: look-back L.
        outputs: classes or numbers T.
        target_dim: number of channels C.
        backbone: makes the backbone from L and C, such as `partial(PatchTSMixerBackbone, dim=16)`.
        pool: `max_pool`, `mean_pool`, `last_patch`; None keeps all patches.
        output_range: lowest and highest output, by a sigmoid; only for a point head.
        head_dropout: on the features in front of the Linear.
        scaler: as in `PatchTSMixer`; with `NoScaler` there is nothing to put back.
        head: `Point` (numbers or scores) or what else a number can be.

    Raises:
        ValueError: an output range with another head than a point.
    """

    def __init__(
        self,
        context_length: int,
        outputs: int,
        *,
        target_dim: int = 1,
        backbone: Callable[[int, int], PatchTSMixerBackbone] = PatchTSMixerBackbone,
        pool: Callable[[Tensor], Tensor] | None = max_pool,
        output_range: tuple[float, float] | None = None,
        head_dropout: float = 0.2,
        scaler: Scaler | None = None,
        head: Head | None = None,
    ):
        super().__init__()
        self.head, self.scaler = head or Point(), scaler or StdScaler()
        if output_range is not None and self.head.size != 1:
            raise ValueError(f"output_range {output_range} bounds a number, {type(self.head).__name__} has several")
        self.outputs, self.pool, self.output_range, self.head_dropout = outputs, pool, output_range, head_dropout
        self.backbone = backbone(context_length, target_dim)
        dim = self.backbone.embedding.out_features
        self.injection = None if isinstance(self.scaler, NoScaler) else StatisticsInjection(dim)
        features = target_dim * dim * (1 if pool else self.backbone.count)
        self.output = nn.Linear(features, outputs * self.head.size)
        self.apply(start)

    def forward(self, past_target: Tensor, *, past_observed_values: Tensor | None = None) -> Tensor:
        """Window `(B, L, C)` to `(B, T)`, or `(B, T, A)` with a head of more than one number."""
        scaled, loc, scale = self.scaler(past_target, past_observed_values)
        features = self.backbone(self.backbone.patches(scaled))
        if self.injection is not None:
            features = self.injection(features, loc, scale)
        if self.pool is not None:
            features = self.pool(features)
        raw = self.output(dropout(features.flatten(1), self.head_dropout, self.training))
        if self.output_range is not None:
            low, high = self.output_range
            raw = raw.sigmoid() * (high - low) + low
        raw = raw.unflatten(1, (self.outputs, self.head.size)).unsqueeze(1)
        unit = raw.new_ones(raw.shape[0], 1, self.outputs)
        return self.head.finish(raw, torch.zeros_like(unit), unit).squeeze(1)
