"""Masked patch prediction (SSAST, Gong et al. 2022, arXiv 2110.09784): patches of a map are hidden, and from what an
encoder makes of the rest each must be told among the hidden ones of its map, and drawn.

    L = - mean_i log softmax_j(c_i . t_j)_(j = i)  +  weight * mean_i ||g_i - t_i||^2 / n

i, j run over the hidden patches of one sample, t are their n numbers, c and g two heads of two layers on the encoder's
tokens.  Hidden are clusters: squares of a side drawn from `clusters` once a sample, at random places, until the wanted
share of the real patches is hidden; a side of 1 hides single patches.

Decided, where the release differs: every patch can be hidden (its first never is); squares end at the border instead of
going on in the next row; patches too many are taken from the last square at random, not by their number; the softmax is
over the patches that a prediction may be, as in the paper, not over the predictions for a patch; one pass serves both
losses, not two with different masks.  Samples of unequal size hide equal shares.
"""

__all__ = ["MaskedPrediction", "Prediction", "clustered_mask", "cut_patches"]

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.layout import zero_padding


class Prediction(NamedTuple):
    """Loss, its two parts, the share of hidden patches that were told rightly, and which were hidden (B, *grid)."""

    loss: Tensor
    contrast: Tensor
    error: Tensor
    accuracy: Tensor
    hidden: Tensor


class MaskedPrediction(nn.Module):
    """Pre-trains an encoder of patches.

    Args:
        encoder: has `patch`, the sizes of a patch; `embed(x, mask) -> Resampled`, tokens of patches (B, *grid, dim),
            and `mix(tokens, mask=mask)`, which encodes them.
        dim: width of its tokens.
        channels: width of what it reads.
        share: of the real patches that are hidden; at least one is.
        clusters: smallest and largest side of a square.
        weight: of the drawing's error.
    """

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        *,
        channels: int = 1,
        share: float = 400 / 512,
        clusters: tuple[int, int] = (3, 5),
        weight: float = 10.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.share, self.clusters, self.weight = share, clusters, weight
        patch: Any = encoder.patch
        numbers = channels * prod(patch)
        self.embedding = nn.Parameter(torch.empty(dim))
        nn.init.normal_(self.embedding, std=0.02)
        self.tell = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, numbers))
        self.draw = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, numbers))

    def forward(self, x: Tensor, mask: Tensor | None = None, generator: torch.Generator | None = None) -> Prediction:
        """x (B, *map, channels), mask (B, *map), True = real; the generator draws what is hidden."""
        encoder: Any = self.encoder
        tokens, real, _ = encoder.embed(x, mask)
        if real is None:
            real = torch.ones(tokens.shape[:-1], dtype=torch.bool, device=x.device)
        hidden = clustered_mask(real, self.share, self.clusters, generator)
        tokens = torch.where(hidden[..., None], self.embedding.to(tokens.dtype), tokens)
        found = encoder.mix(tokens, mask=real)[hidden]
        targets = cut_patches(zero_padding(x, mask), encoder.patch)[hidden].detach()
        counts = hidden.flatten(1).sum(1).tolist()
        # Only the patches of the same sample compete.
        told = self.tell(found).split(counts)
        losses, right = [], []
        for guesses, truth in zip(told, targets.split(counts), strict=True):
            scores = guesses @ truth.to(guesses.dtype).mT
            own = torch.arange(len(truth), device=x.device)
            losses.append(F.cross_entropy(scores.float(), own, reduction="sum"))
            right.append((scores.argmax(1) == own).sum())
        contrast = torch.stack(losses).sum() / max(len(targets), 1)
        error = F.mse_loss(self.draw(found).to(targets.dtype), targets, reduction="sum") / max(targets.numel(), 1)
        accuracy = torch.stack(right).sum() / max(len(targets), 1)
        return Prediction(contrast + self.weight * error, contrast, error, accuracy, hidden)


def clustered_mask(
    real: Tensor, share: float, clusters: tuple[int, int] = (3, 5), generator: torch.Generator | None = None
) -> Tensor:
    """Patches to hide, in squares (cubes, runs).

    Args:
        real: (B, *grid), True where there is a patch.
        share: of the real patches of each sample, rounded; one at least where there is one.
        clusters: smallest and largest side; each sample has one of them.
        generator: on the CPU.

    Returns:
        (B, *grid), True = hidden.

    Raises:
        ValueError: a share outside of 0 to 1, or sides that are none.
    """
    if not 0 <= share <= 1 or not 1 <= clusters[0] <= clusters[1]:
        raise ValueError(f"clustered_mask: share {share}, sides {clusters}; give a share of 0 to 1, sides from 1 on")
    rank = real.ndim - 1
    pool: Any = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[rank - 1]
    present = real.cpu()
    # Squares come in the order of these numbers, which stand at their first corners.
    order = torch.rand(present.shape, generator=generator).masked_fill(~present, torch.inf)
    order = order.flatten(1).argsort(1).argsort(1).view(present.shape).double()
    ties = torch.rand(present.shape, generator=generator, dtype=torch.float64)
    sides = torch.randint(clusters[0], clusters[1] + 1, (len(present),), generator=generator)
    first = torch.empty_like(order)
    for side in sides.unique().tolist():
        chosen = sides == side
        # The first square that covers a patch, among those that start at it or up to side - 1 before it.
        wide = F.pad(-order[chosen].masked_fill(~present[chosen], torch.inf), (side - 1, 0) * rank, value=-torch.inf)
        first[chosen] = -pool(wide[:, None], side, 1)[:, 0]
    rows = (first + ties).masked_fill(~present, torch.inf).flatten(1).argsort(1).argsort(1)
    total = present.flatten(1).sum(1, keepdim=True)
    wanted = (total * share).round().long().clamp(min=1).minimum(total)
    return (rows < wanted).view(present.shape).to(real.device)


def cut_patches(x: Tensor, patch: Sequence[int]) -> Tensor:
    """(B, *map, C) -> (B, *grid, numbers of a patch), zeros behind the end of the map."""
    rank = len(patch)
    sides = [
        n for size, length in zip(reversed(patch), reversed(x.shape[1:-1]), strict=True) for n in (0, -length % size)
    ]
    x = F.pad(x, (0, 0, *sides))
    x = x.reshape(len(x), *(n for s, p in zip(x.shape[1:-1], patch, strict=True) for n in (s // p, p)), x.shape[-1])
    grid, inside = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
    return x.permute(0, *grid, *inside, 2 * rank + 1).flatten(rank + 1)
