"""PatchTST: each series on its own, its patches as tokens of a transformer.

Nie et al., "A Time Series is Worth 64 Words: Long-term Forecasting with Transformers", ICLR 2023.  A window is
normalised by its own statistics (with a learned weight and bias per channel), completed at its end by `stride`
repetitions of the last value, cut into patches; Linear(p, dim) plus a table of positions gives tokens; n layers

    scores = q k^T scale + scores of the layer before      (residual attention)
    x = norm1(x + attention(x));  x = norm2(x + mlp(x))    norms are batch norms over tokens

and one Linear reads the forecast from a channel's flattened tokens.

Equal to the release (yuqinie98/PatchTST 204c21e, supervised), whose batch norm cannot be changed by its options.
Decided differently:
- without the padding at the end, patches end with the newest step; the release drops the newest (L - p) mod stride
  steps (`drop_newest=True`); with the padding nothing real is lost;
- the scale of the scores, see `patchtst_layers`;
- missing values, probabilistic heads.  The release has no covariates, a series knows only itself.
"""

__all__ = ["PatchTST"]

from collections import OrderedDict
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from apps.timeseries.heads import Head, Point
from apps.timeseries.models.dlinear import fill_forward, moving_average
from apps.timeseries.models.normalize import window_statistics
from apps.timeseries.models.patchtsmixer_layers import TokenBatchNorm
from apps.timeseries.models.patchtst_layers import EncoderLayer, ResidualAttention
from apps.timeseries.models.positions import Positions, small_uniform
from core.ops.dropout import dropout

# What the release divides by on the way back: weight + its epsilon squared.
WEIGHT_EPSILON = 1e-10


class ReversibleNorm(nn.Module):
    """Window statistics (detached) and a learned weight and bias per channel, folded into loc and scale.

    Kim et al., "Reversible Instance Normalization", ICLR 2022.

    Args:
        channels: number of channels.
        affine: with weight and bias.
        subtract_last: the last observed value (not detached) in the place of the mean.
    """

    def __init__(self, channels: int, affine: bool = True, subtract_last: bool = False):
        super().__init__()
        self.subtract_last = subtract_last
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor, observed: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """x `(B, L, K)` to the normalised window and the loc and scale `(B, 1, K)` that lead back."""
        loc, scale = window_statistics(x, observed)
        if self.subtract_last:
            loc = (x if observed is None else fill_forward(x, observed))[:, -1:]
        x = (x - loc) / scale
        x = x if observed is None else x.masked_fill(~observed, 0)
        if self.weight is None or self.bias is None:
            return x, loc, scale
        back = scale / (self.weight + WEIGHT_EPSILON)
        return x * self.weight + self.bias, loc - self.bias * back, back


class ForecastHead(nn.Module):
    """Flattened tokens of a channel to its raw numbers, by one Linear or by one for each channel.

    Args:
        features: numbers per channel.
        outputs: numbers to give.
        channels: number of channels.
        individual: own weights for each channel.
        dropout: on the output, as the release has it.
    """

    def __init__(self, features: int, outputs: int, channels: int, individual: bool = False, dropout: float = 0.0):
        super().__init__()
        maps, bound, self.dropout = (channels if individual else 1), features**-0.5, dropout
        self.weight = nn.Parameter(torch.empty(maps, outputs, features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(maps, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """`(B, K, features)` to `(B, K, outputs)`."""
        if len(self.weight) == 1:
            raw = F.linear(x, self.weight[0], self.bias[0])
        else:
            raw = torch.einsum("bkf,kof->bko", x, self.weight) + self.bias
        return dropout(raw, self.dropout, self.training)


class Patches(nn.Module):
    """Cuts `(B, L, K)` into `(B, K, P, p)`.

    Args:
        context_length: look-back L.
        patch_length: steps p in a patch.
        stride: steps from patch to patch.
        pad_end: complete the window by `stride` repetitions of its last value.
        drop_newest: without that padding, leave out the newest steps instead of the oldest.

    Raises:
        ValueError: the patch does not fit into the look-back.
    """

    def __init__(self, context_length: int, patch_length: int, stride: int, pad_end: bool, drop_newest: bool):
        super().__init__()
        if not 0 < patch_length <= context_length or stride < 1:
            raise ValueError(
                f"patches of {patch_length} with stride {stride} do not fit into a look-back of {context_length}"
            )
        self.patch_length, self.stride, self.padding = patch_length, stride, stride if pad_end else 0
        self.count = (context_length - patch_length) // stride + 1 + bool(pad_end)
        # The padded end may be cut short, real steps may not.
        self.skip = 0 if pad_end or drop_newest else (context_length - patch_length) % stride

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)[..., self.skip :]
        x = F.pad(x, (0, self.padding), mode="replicate") if self.padding else x
        return x.unfold(2, self.patch_length, self.stride)


class Branch(nn.Module):
    """The release's `PatchTST_backbone`: from a window to raw numbers and the loc and scale that lead back.

    Args:
        normalize: `(x, observed) -> (x, loc, scale)`, or none.
        patches: cuts the window.
        embedding: patches to tokens, with their positions.
        layers: called with tokens and the scores of the layer before.
        forecast: a channel's flattened tokens to its raw numbers.
        dropout: on the tokens.
        residual_scores: hand the scores on.
    """

    def __init__(
        self,
        normalize: ReversibleNorm | None,
        patches: Patches,
        embedding: nn.Module,
        layers: Iterable[EncoderLayer],
        forecast: ForecastHead,
        dropout: float,
        residual_scores: bool,
    ):
        super().__init__()
        self.normalize, self.patches, self.embedding = normalize, patches, embedding
        self.layers, self.forecast = nn.ModuleList(layers), forecast
        self.dropout, self.residual_scores = dropout, residual_scores

    def forward(self, x: Tensor, observed: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """x, observed `(B, L, K)` to raw `(B, K, outputs)`, loc and scale `(B, 1, K)`."""
        batch, _, channels = x.shape
        x = x if observed is None else x.masked_fill(~observed, 0)
        if self.normalize is None:
            loc, scale = x.new_zeros(batch, 1, channels), x.new_ones(batch, 1, channels)
        else:
            x, loc, scale = self.normalize(x, observed)
        tokens = dropout(self.embedding(self.patches(x)), self.dropout, self.training).flatten(0, 1)
        scores = None
        for layer in self.layers:
            tokens, scores = layer(tokens, scores if self.residual_scores else None)
        return self.forecast(tokens.reshape(batch, channels, -1)), loc, scale


class PatchTST(nn.Module):
    """The network; inputs and outputs as `apps.timeseries.models` says.

    Args:
        context_length: look-back L.
        prediction_length: horizon H.
        target_dim: number of targets K.
        dim: token width.
        heads: attention heads, a divisor of `dim`.
        depth: layers.
        hidden: width inside the MLPs.
        patch_length: steps p in a patch.
        stride: steps from patch to patch.
        dropout: on tokens, inside the MLPs and on the branches.
        attention_dropout: on the attention weights.
        head_dropout: on the forecast in normalised units, as the release has it.
        activation: of the MLPs.
        key_dim, value_dim: width of q and k, and of v, per head; dim // heads by default.
        residual_scores: add the scores of the layer before.
        pre_norm: normalise in front of a branch (the branch is added to the normalised tokens, as in the release).
        position: start of the table of positions, from `positions`.
        learn_position: train it.
        pad_end: complete the window by `stride` repetitions of its last value.
        drop_newest: without that padding, leave out the newest steps that fill no patch, as the release does.
        individual: own forecast weights for each target.
        normalize: window normalisation.
        affine: with learned weight and bias per channel.
        subtract_last: normalise by the last value instead of the mean.
        kernel: odd width of a moving average; trend and rest then have a network each, whose forecasts are summed.
        head: what the forecast is; with `kernel` a head of one number.

    Raises:
        ValueError: sizes that do not fit, an even kernel, a kernel with a head of several numbers.
    """

    def __init__(
        self,
        context_length: int,
        prediction_length: int,
        *,
        target_dim: int = 1,
        dim: int = 128,
        heads: int = 16,
        depth: int = 3,
        hidden: int = 256,
        patch_length: int = 16,
        stride: int = 8,
        dropout: float = 0.2,
        attention_dropout: float = 0.0,
        head_dropout: float = 0.0,
        activation: type[nn.Module] = nn.GELU,
        key_dim: int | None = None,
        value_dim: int | None = None,
        residual_scores: bool = True,
        pre_norm: bool = False,
        position: Callable[[int, int], Tensor] = small_uniform,
        learn_position: bool = True,
        pad_end: bool = True,
        drop_newest: bool = False,
        individual: bool = False,
        normalize: bool = True,
        affine: bool = True,
        subtract_last: bool = False,
        kernel: int | None = None,
        head: Head | None = None,
    ):
        super().__init__()
        self.head = head or Point()
        if kernel is not None and (kernel % 2 == 0 or self.head.size != 1):
            raise ValueError(f"kernel {kernel} must be odd and the forecast one number ({self.head.size} asked for)")
        self.context_length, self.prediction_length, self.target_dim = context_length, prediction_length, target_dim
        self.kernel = kernel

        def layer() -> EncoderLayer:
            attention = ResidualAttention(dim, heads, key_dim, value_dim, attention_dropout)
            return EncoderLayer(attention, dim, hidden, dropout, activation, TokenBatchNorm, pre_norm)

        def branch() -> Branch:
            patches = Patches(context_length, patch_length, stride, pad_end, drop_newest)
            outputs = prediction_length * self.head.size
            return Branch(
                ReversibleNorm(target_dim, affine, subtract_last) if normalize else None,
                patches,
                nn.Sequential(
                    OrderedDict(
                        patch=nn.Linear(patch_length, dim),
                        position=Positions(position(patches.count, dim), learn_position),
                    )
                ),
                (layer() for _ in range(depth)),
                ForecastHead(patches.count * dim, outputs, target_dim, individual, head_dropout),
                dropout,
                residual_scores,
            )

        self.branches = nn.ModuleList(branch() for _ in range(1 if kernel is None else 2))

    def forward(self, past_target: Tensor, *, past_observed_values: Tensor | None = None) -> Tensor:
        """The forecast `(B, H, K)`, or `(B, H, K, A)` with a head of more than one number."""
        if past_target.shape[1:] != (self.context_length, self.target_dim):
            raise ValueError(
                f"past_target is {tuple(past_target.shape[1:])}, expected ({self.context_length}, {self.target_dim}): "
                "steps of the look-back, targets"
            )
        if self.kernel is None:
            return self._forecast(0, past_target, past_observed_values)
        x = past_target if past_observed_values is None else fill_forward(past_target, past_observed_values)
        trend = moving_average(x, self.kernel)
        return self._forecast(0, x - trend, None) + self._forecast(1, trend, None)

    def _forecast(self, branch: int, x: Tensor, observed: Tensor | None) -> Tensor:
        raw, loc, scale = self.branches[branch](x, observed)
        raw = raw.unflatten(2, (self.prediction_length, self.head.size)).transpose(1, 2)
        return self.head.finish(raw, loc, scale)
