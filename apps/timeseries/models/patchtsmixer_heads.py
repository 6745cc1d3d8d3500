"""What PatchTSMixer puts behind its base forecast: reconciliation across channels and across a patch hierarchy.

`ChannelReconciliation` is the paper's cross-channel head (TSMixer, KDD 2023) in the form granite-tsfm released it
(412573a, `ForecastChannelHeadMixer`), where it also takes covariates known for the horizon: around every step of the
horizon the window of 2 c + 1 steps of all forecasts and known covariates is flattened (channel by channel) and

    y = base + W gate(window)                 gate(z) = z * softmax(V z)

the windows reach back into the look-back (or zeros) and end in zeros.  With a mixer the windows of a step are first
embedded and mixed, channels in the place of patches.

`PatchReconciliation` is the paper's hierarchical head; no code of it was published, so this is our reading: beside
the base forecast the backbone predicts the sum over every patch of the horizon; each patch of the base forecast and
its sum go through gate and Linear and correct the patch:

    y_j = base_j + W gate([base_j, s_j])

trained with `hierarchy_loss`, the errors of sums divided by the patch length.  Decided by us: the correction is
residual, and a last patch that is not full is completed by zeros.
"""

__all__ = ["ChannelReconciliation", "PatchReconciliation", "hierarchy_loss"]

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from apps.timeseries.heads import masked_mean
from apps.timeseries.models.patchtsmixer_layers import Gate, MixerLayer


class ChannelReconciliation(nn.Module):
    """Corrects each step by all channels around it; everything in the scaled space.

    Args:
        channels: forecast channels K.
        known: covariates E that are known for the horizon.
        prediction_length: horizon H.
        context: steps c on each side of a step.
        gate: softmax gate.
        mixer_depth: mixer layers over the windows; 0 for none.
        expansion: of these.
        dropout: of these.
        prepend_past: begin with the end of the look-back instead of zeros.
        skip: newest steps of the look-back that are not prepended.
        heads: attention over channels in the mixer layers; 0 for none.
        norm: of the mixer layers.

    Raises:
        ValueError: `context` below 1 (the release has no working case without context either).
    """

    def __init__(
        self,
        channels: int,
        known: int,
        prediction_length: int,
        context: int = 1,
        gate: bool = True,
        mixer_depth: int = 0,
        expansion: int = 2,
        dropout: float = 0.0,
        prepend_past: bool = True,
        skip: int = 0,
        heads: int = 0,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
    ):
        super().__init__()
        if context < 1 or skip < 0:
            raise ValueError(f"context {context} must be at least 1 and skip {skip} at least 0")
        self.channels, self.known, self.prediction_length = channels, known, prediction_length
        self.context, self.prepend_past, self.skip = context, prepend_past, skip
        window = 2 * context + 1
        width = 2 * window if mixer_depth else window
        self.embedding = nn.Linear(window, width) if mixer_depth else None
        self.mixer = nn.Sequential(
            *(
                MixerLayer(width, channels + known, expansion, dropout, gate=gate, heads=heads, norm=norm)
                for _ in range(mixer_depth)
            )
        )
        self.gate = Gate((channels + known) * width) if gate else nn.Identity()
        self.correct = nn.Linear((channels + known) * width, channels)

    def forward(self, base: Tensor, past: Tensor, known: Tensor | None = None) -> Tensor:
        """base `(B, H, K)`; past `(B, L, K + E)`, the channels first; known `(B, H, E)` to `(B, H, K)`."""
        steps = base if known is None else torch.cat([base, known], 2)
        if self.prepend_past:
            end = past.shape[1] - self.skip
            steps = F.pad(torch.cat([past[:, end - self.context : end], steps], 1), (0, 0, 0, self.context))
        else:
            steps = F.pad(steps, (0, 0, self.context, self.context))
        windows = steps.unfold(1, 2 * self.context + 1, 1)  # (B, H, K + E, 2 c + 1)
        if self.embedding is not None:
            windows = self.mixer(self.embedding(windows))
        return base + self.correct(self.gate(windows.flatten(2)))


class PatchReconciliation(nn.Module):
    """Corrects each patch of the base forecast by a forecast of its sum; everything in the scaled space.

    Args:
        features: numbers the backbone has per channel.
        prediction_length: horizon H.
        patch_length: steps p that are summed; J = ceil(H / p) sums.
        size: raw numbers per step A.
    """

    def __init__(self, features: int, prediction_length: int, patch_length: int, size: int = 1):
        super().__init__()
        self.prediction_length, self.patch_length, self.size = prediction_length, patch_length, size
        self.count = -(-prediction_length // patch_length)
        self.sums = nn.Linear(features, self.count * size)
        self.gate = Gate((patch_length + 1) * size)
        self.correct = nn.Linear((patch_length + 1) * size, patch_length * size)

    def forward(self, features: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
        """features `(B, K, features)`, base `(B, H, K, A)` to the corrected forecast and the sums `(B, J, K, A)`."""
        sums = self.sums(features).unflatten(2, (self.count, self.size))  # (B, K, J, A)
        full = F.pad(base, (0, 0, 0, 0, 0, self.count * self.patch_length - self.prediction_length))
        patches = full.unflatten(1, (self.count, -1)).permute(0, 3, 1, 2, 4)  # (B, K, J, p, A)
        both = torch.cat([patches, sums.unsqueeze(3)], 3).flatten(3)
        change = self.correct(self.gate(both)).view(patches.shape).permute(0, 2, 3, 1, 4).flatten(1, 2)
        return base + change[:, : self.prediction_length], sums.transpose(1, 2)


def patch_sums(x: Tensor, patch_length: int) -> Tensor:
    """Sums of `x (B, H, K)` over patches of the horizon, `(B, J, K)`; the last one may be short."""
    full = F.pad(x, (0, 0, 0, -x.shape[1] % patch_length))
    return full.unflatten(1, (-1, patch_length)).sum(2)


def hierarchy_loss(prediction: Tensor, sums: Tensor, target: Tensor, observed: Tensor, patch_length: int) -> Tensor:
    """What the hierarchical head adds to the squared error of the steps.

    1/p mse(sums, true sums) + 1/p mse(sums of the prediction, true sums), over patches that are observed whole.

    Args:
        prediction: forecast `(B, H, K)`.
        sums: predicted patch sums `(B, J, K)`, in the same unit.
        target: `(B, H, K)`.
        observed: `(B, H, K)` bool.
        patch_length: p.
    """
    whole = patch_sums((~observed).to(target.dtype), patch_length) == 0
    true = patch_sums(target.masked_fill(~observed, 0), patch_length)
    errors = (sums - true).square() + (patch_sums(prediction, patch_length) - true).square()
    return masked_mean(errors, whole) / patch_length
