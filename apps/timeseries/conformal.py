"""Conformal calibration: quantiles for any forecast from its own errors on held-out windows.

For a level tau and a base forecast b (the point forecast, or the network's own tau-quantile), the calibrated quantile
is b + r, r the tau-quantile of the held-out residuals y - b of the same step and target, taken at the rank
ceil((n + 1) tau) from above and floor((n + 1) tau) from below, so that coverage holds for n + 1 exchangeable
windows (Vovk et al. 2005; for quantile networks Romano et al. 2019, both tails apart).  Windows of a series are not
exchangeable: the guarantee is then that of the held-out part, not of a drifting future.
"""

__all__ = ["calibrate", "shifts"]

from collections.abc import Sequence

import torch
from torch import Tensor


def shifts(base: Tensor, target: Tensor, levels: Sequence[float]) -> Tensor:
    """What to add to each level's base forecast.

    Args:
        base: `(N, H, K, Q)` base forecasts at `levels`, or `(N, H, K)` one for all.
        target: `(N, H, K)`, NaN where not observed.
        levels: in (0, 1), Q of them.

    Returns:
        `(H, K, Q)`; 0 where nothing was observed.
    """
    base = base.unsqueeze(-1).expand(*base.shape, len(levels)) if base.dim() == target.dim() else base
    ordered = (target.unsqueeze(-1) - base).sort(dim=0).values  # NaN last
    count = (~target.isnan()).sum(0)
    out = torch.zeros(ordered.shape[1:], dtype=base.dtype)
    for n, level in enumerate(levels):
        exact = (count + 1) * level
        rank = (torch.ceil(exact - 1e-9) if level >= 0.5 else torch.floor(exact + 1e-9)).long() - 1
        rank = rank.clamp(min=0).minimum((count - 1).clamp(min=0))
        out[..., n] = ordered[..., n].gather(0, rank.unsqueeze(0))[0]
    return torch.where((count > 0).unsqueeze(-1), out, torch.zeros_like(out)).nan_to_num()


def calibrate(base: Tensor, shift: Tensor) -> Tensor:
    """Calibrated quantiles `(N, H, K, Q)`, increasing in Q; arguments as in and from `shifts`."""
    base = base.unsqueeze(-1) if base.dim() == shift.dim() else base
    return (base + shift).sort(dim=-1).values
