"""Masked pre-training of PatchTSMixer: hide patches of the scaled window, predict them.

In the form of transformers 5.23 (`PatchTSMixerForPretraining`): patches are hidden after scaling by one value, the
network gives p numbers per patch, and the loss is the squared error of a patch against the scaled patch, averaged
over hidden patches (or over all).  Masks are small classes: `RandomPatches` hides all but int(P (1 - ratio)) patches
of a sample, the same in all channels or not; `LastPatches` hides the newest k patches, k shared out evenly over the
batch when there are several.

Decided differently: unobserved steps do not count in the loss.  What is learned moves to a forecaster by its
backbone: `forecaster.backbone.load_state_dict(pretrained.backbone.state_dict())`.
"""

__all__ = ["LastPatches", "PatchTSMixerPretraining", "RandomPatches"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from apps.timeseries.models.patchtsmixer import PatchTSMixerBackbone, start
from apps.timeseries.models.patchtsmixer_scalers import Scaler, StdScaler
from core.ops.dropout import dropout


class RandomPatches:
    """Hides a share of the patches, drawn anew each time.

    Args:
        ratio: share of hidden patches, in [0, 1).
        same_in_channels: hide the same patches in all channels of a sample.
        keep: channels in which nothing is hidden.
    """

    def __init__(self, ratio: float = 0.5, same_in_channels: bool = True, keep: Sequence[int] = ()):
        if not 0 <= ratio < 1:
            raise ValueError(f"ratio {ratio} must be in [0, 1)")
        self.ratio, self.same_in_channels, self.keep = ratio, same_in_channels, list(keep)

    def __call__(self, batch: int, channels: int, patches: int, device: torch.device) -> Tensor:
        """Which patches are hidden, `(B, C, P)` bool."""
        noise = torch.rand(batch, 1 if self.same_in_channels else channels, patches, device=device)
        rank = noise.argsort(-1).argsort(-1)
        hidden = (rank >= int(patches * (1 - self.ratio))).expand(batch, channels, patches).clone()
        hidden[:, self.keep] = False
        return hidden


class LastPatches:
    """Hides the newest patches.

    Args:
        counts: how many; several are shared out evenly over the samples of a batch, in random order.
        keep: channels in which nothing is hidden.
    """

    def __init__(self, counts: Sequence[int] = (2,), keep: Sequence[int] = ()):
        self.counts, self.keep = list(counts), list(keep)

    def __call__(self, batch: int, channels: int, patches: int, device: torch.device) -> Tensor:
        """Which patches are hidden, `(B, C, P)` bool."""
        if not self.counts or not all(0 < count < patches for count in self.counts):
            raise ValueError(f"counts {self.counts} must be between 1 and {patches - 1}, one less than the patches")
        shares = [batch // len(self.counts)] * len(self.counts)
        shares[0] += batch - sum(shares)
        count = torch.tensor(self.counts).repeat_interleave(torch.tensor(shares))[torch.randperm(batch)].to(device)
        hidden = torch.arange(patches, device=device) >= patches - count[:, None, None]
        hidden = hidden.expand(batch, channels, patches).clone()
        hidden[:, self.keep] = False
        return hidden


class PatchTSMixerPretraining(nn.Module):
    """The backbone with a Linear that gives back patches.

    Args:
        context_length: look-back L.
        target_dim: number of channels C.
        backbone: makes the backbone from L and C, such as `partial(PatchTSMixerBackbone, dim=16)`.
        hide: `RandomPatches` or `LastPatches`.
        hidden_value: what a hidden patch is filled with.
        head_dropout: on the features in front of the Linear.
        hidden_only: average the loss over hidden patches instead of all.
        scaler: as in `PatchTSMixer`.
    """

    def __init__(
        self,
        context_length: int,
        target_dim: int = 1,
        *,
        backbone: Callable[[int, int], PatchTSMixerBackbone] = PatchTSMixerBackbone,
        hide: RandomPatches | LastPatches | None = None,
        hidden_value: float = 0.0,
        head_dropout: float = 0.2,
        hidden_only: bool = True,
        scaler: Scaler | None = None,
    ):
        super().__init__()
        self.backbone = backbone(context_length, target_dim)
        self.hide, self.scaler = hide or RandomPatches(), scaler or StdScaler()
        self.hidden_value, self.hidden_only, self.head_dropout = hidden_value, hidden_only, head_dropout
        self.restore = nn.Linear(self.backbone.embedding.out_features, self.backbone.patch_length)
        self.apply(start)

    def forward(self, past_target: Tensor, *, past_observed_values: Tensor | None = None) -> tuple[Tensor, ...]:
        """Window `(B, L, C)` to predicted and true patches `(B, C, P, p)`, both scaled, and hidden `(B, C, P)`."""
        scaled, _, _ = self.scaler(past_target, past_observed_values)
        patches = self.backbone.patches(scaled)
        hidden = self.hide(*patches.shape[:3], patches.device)
        features = self.backbone(patches.masked_fill(hidden.unsqueeze(-1), self.hidden_value))
        return self.restore(dropout(features, self.head_dropout, self.training)), patches, hidden

    def loss(
        self, predicted: Tensor, patches: Tensor, hidden: Tensor, past_observed_values: Tensor | None = None
    ) -> Tensor:
        """Mean over patches of their mean squared error over observed steps; 0 where nothing is to be counted."""
        errors, counted = (predicted - patches).square(), hidden if self.hidden_only else torch.ones_like(hidden)
        if past_observed_values is None:
            errors = errors.mean(-1)
        else:
            observed = self.backbone.patches(past_observed_values)
            errors = (errors * observed).sum(-1) / observed.sum(-1).clamp(min=1)
            counted = counted & observed.any(-1)
        return (errors * counted).sum() / (counted.sum() + 1e-10)
