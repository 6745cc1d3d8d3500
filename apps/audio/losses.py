"""What separation networks train on: permutation-invariant negative SI-SDR (Kolbaek et al. 2017)."""

__all__ = ["hard_mean", "pit_loss"]

import torch
from torch import Tensor

from apps.audio.metrics import SILENT_DB, best_permutation, permuted


def pit_loss(estimates: Tensor, targets: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Negative SI-SDR in dB of the best permutation, of each clip by itself.

    The permutation is chosen from inner products; the loss is computed from the residual of the chosen pairs, exact
    also where they agree to 60 dB. Silent references have no part in their clip's mean; a clip of nothing else has
    loss 0.

    Args:
        estimates, targets: (B, S, T).
        lengths: (B,) samples of each clip; what lies behind is ignored. All T by default.

    Returns:
        The loss (B,) in float32 at least, and the permutation (B, S).

    Raises:
        ValueError: other shapes.
    """
    if estimates.dim() != 3 or estimates.shape != targets.shape:
        raise ValueError(
            f"pit_loss: estimates {tuple(estimates.shape)} and targets {tuple(targets.shape)} must both be (B, S, T)."
        )
    estimates, targets = (x.float() if x.dtype in (torch.float16, torch.bfloat16) else x for x in (estimates, targets))
    estimates, targets = _centred(estimates, lengths), _centred(targets, lengths)
    energy = (targets * targets).sum(-1)
    # In half precision close permutations would be mistaken.
    with torch.no_grad(), torch.autocast(estimates.device.type, enabled=False):
        # Energies of uncorrelated speakers add up to about the mixture's.
        real = energy > 10 ** (SILENT_DB / 10) * energy.sum(-1, keepdim=True)
        inner = estimates @ targets.mT
        powers = (estimates * estimates).sum(-1)[..., None] * energy[:, None]
        share = (inner * inner / powers.clamp(min=torch.finfo(inner.dtype).tiny)).clamp(0, 1 - 1e-6)
        scores = (share.clamp(min=1e-6) / (1 - share)).log10() * real[:, None]
        _, permutation = best_permutation(scores)
    estimates = permuted(estimates, permutation)
    safe = energy.where(real, torch.ones_like(energy))
    part = targets * ((estimates * targets).sum(-1) / safe)[..., None]
    signal, noise = (part * part).sum(-1), ((estimates - part) ** 2).sum(-1)
    # Relative to the reference: the loss and its gradient stay finite for silent and for perfect estimates.
    least = 1e-8 * safe
    value = 10 * ((signal + least) / (noise + least)).log10()
    loss = -(value * real).sum(-1) / real.sum(-1).clamp(min=1)
    return loss, permutation


def hard_mean(loss: Tensor, threshold: float = -30.0) -> Tensor:
    """Mean of the losses (B,) above `threshold` dB: clips that are solved already no longer count; 0 if all are."""
    hard = loss > threshold
    return (loss * hard).sum() / hard.sum().clamp(min=1)


def _centred(x: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, S, T) less its mean over each clip's own samples, 0 behind its end."""
    if lengths is None:
        return x - x.mean(-1, keepdim=True)
    real = (torch.arange(x.shape[-1], device=x.device) < lengths[:, None])[:, None]
    x = x.masked_fill(~real, 0)
    return (x - x.sum(-1, keepdim=True) / lengths.clamp(min=1)[:, None, None]) * real
