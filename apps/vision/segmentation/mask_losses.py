"""Losses of mask transformers, in the form of kMaX-DeepLab (Yu et al. 2022): a set of queries, each a class and a mask.

The masks of an image compete for its pixels (softmax over queries). Truth and queries are matched once, on the final
result, by the product that panoptic quality is made of:

    similarity(query, truth) = Dice(softmax mask without void, true mask) * p(class of the truth | query)

and the matching, the weights made of it and the map of void serve the helping results of earlier layers, too.

    classes    cross entropy over K + 1, .75 for real and .25 for void, times the Dice of the match; for a query without
               one, the share of its mask that lies on void
    masks      cross entropy over queries, pixel by pixel, and 1 - Dice of each mask times the class probability of its
               match (0 without), summed, times .75 / N
    pixels     instance discrimination: of some pixels, more of small masks, each shall resemble those of its own mask
    semantic   cross entropy of a plain semantic head on such a sample

Means of the release divide by the number of values that are not 0; so do these.

Truth is one map of whole numbers, not a stack of masks: `Truth.segments` says for each pixel which of the image's
segments it belongs to. The release's stride of truth, every fourth pixel from the first, holds where the sizes are
4 n + 1 and n + 1; other sizes are sampled at the nearest pixel.
"""

__all__ = ["Masks", "PanopticLoss", "Truth", "match"]

from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

LEAST = 1e-5


class Masks(NamedTuple):
    """What a mask transformer predicts.

    Attributes:
        classes: (B, N, K + 1) logits, void last.
        masks: (B, N, h, w) logits.
        pixels: (B, C, h, w) features of unit length, or None.
        semantic: (B, K, h', w') logits of a helping head, or None.
        others: results of earlier layers, of the same size.
    """

    classes: Tensor
    masks: Tensor
    pixels: Tensor | None = None
    semantic: Tensor | None = None
    others: tuple["Masks", ...] = ()


class Truth(NamedTuple):
    """Segments of each image.

    Attributes:
        segments: (B, H, W) int64, place in `classes`; -1 is void (and crowd).
        classes: for each image (M,) int64, 0 .. K - 1; M may be 0.
    """

    segments: Tensor
    classes: tuple[Tensor, ...]

    def semantic(self) -> Tensor:
        """(B, H, W) int64 classes, -1 is void."""
        maps = []
        for segments, classes in zip(self.segments, self.classes, strict=True):
            # Void, -1, is the last entry.
            maps.append(torch.cat([classes, classes.new_full((1,), -1)])[segments])
        return torch.stack(maps)


class Matches(NamedTuple):
    """One image: which query has which truth, their Dice and the probability of its class; all (min(N, M),)."""

    queries: Tensor
    truths: Tensor
    dice: Tensor
    probability: Tensor


@torch.no_grad()
def match(classes: Tensor, masks: Tensor, segments: Tensor, true_classes: Tensor) -> Matches:
    """Truth to queries, so that the sum of similarities is largest.

    Args:
        classes: (N, K + 1) logits, void last.
        masks: (N, h, w) logits.
        segments: (h, w) places in `true_classes`, -1 is void.
        true_classes: (M,).
    """
    count = len(true_classes)
    flat = segments.flatten()
    true = _one_hot(flat, count, masks.dtype)
    share = masks.softmax(0).flatten(1) * (flat >= 0)
    dice = share @ true.T / ((share.sum(1)[:, None] + true.sum(1)) / 2 + LEAST)
    probability = classes.softmax(1)[:, :-1][:, true_classes]
    rows, columns = linear_sum_assignment(-(dice * probability).float().cpu().numpy())
    queries, truths = (torch.from_numpy(x).to(masks.device) for x in (rows, columns))
    return Matches(queries, truths, dice[queries, truths], probability[queries, truths])


class _Goal(NamedTuple):
    """What the losses compare with, in the order of the queries."""

    masks: Tensor
    classes: Tensor
    class_weight: Tensor
    mask_weight: Tensor
    void: Tensor
    rarity: Tensor


class PanopticLoss(nn.Module):
    """All of the above, weighted.

    Args:
        classes, masks, dice, pixels, semantic: weights of the parts (those for COCO).
        pixel_samples: pixels of an image that discriminate instances; all, if there are fewer.
        pixel_temperature: how much small masks are preferred.
        likeness: temperature of the similarity of pixels.
        semantic_samples: pixels of the semantic head; 0 for all.
        semantic_temperature: how much small masks are preferred there.
    """

    def __init__(
        self,
        classes: float = 3.0,
        masks: float = 0.3,
        dice: float = 3.0,
        pixels: float = 1.0,
        semantic: float = 1.0,
        pixel_samples: int = 4096,
        pixel_temperature: float = 1.5,
        likeness: float = 0.3,
        semantic_samples: int = 4096,
        semantic_temperature: float = 2.0,
    ) -> None:
        super().__init__()
        self.weights = {"classes": classes, "masks": masks, "dice": dice, "pixels": pixels, "semantic": semantic}
        self.pixel_samples, self.pixel_temperature, self.likeness = pixel_samples, pixel_temperature, likeness
        self.semantic_samples, self.semantic_temperature = semantic_samples, semantic_temperature

    def forward(self, found: Masks, truth: Truth) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum to be minimised, and the weighted parts summed over layers, without gradients."""
        goal = self.goal(found, truth)
        parts: dict[str, Tensor] = {}
        for layer in (found, *found.others):
            for name, value in self.layer(layer, goal).items():
                parts[name] = parts[name] + value if name in parts else value
        if found.semantic is not None:
            size = found.semantic.shape[2:]
            labels, void = nearest(truth.semantic(), size), nearest(goal.void, size)
            parts["semantic"] = semantic_cross_entropy(
                _single(found.semantic),
                labels,
                void,
                nearest(goal.rarity, size),
                self.semantic_samples,
                self.semantic_temperature,
            )
        parts = {name: self.weights[name] * value for name, value in parts.items()}
        return sum(parts.values(), torch.zeros((), device=found.masks.device)), {
            name: value.detach() for name, value in parts.items()
        }

    @torch.no_grad()
    def goal(self, found: Masks, truth: Truth) -> _Goal:
        """Matches the final result and puts the truth in its order."""
        masks, classes = _single(found.masks.detach()), _single(found.classes.detach())
        batch, queries = masks.shape[:2]
        segments = nearest(truth.segments, masks.shape[2:])
        true_masks = torch.zeros_like(masks)
        true_classes = torch.full((batch, queries), classes.shape[2] - 1, device=masks.device)
        mask_weight = masks.new_zeros(batch, queries)
        pairs = [match(*rest) for rest in zip(classes, masks, segments, truth.classes, strict=True)]
        for n, pair in enumerate(pairs):
            true_masks[n, pair.queries] = (segments[n] == pair.truths[:, None, None]).to(masks)
            true_classes[n, pair.queries] = truth.classes[n][pair.truths]
            mask_weight[n, pair.queries] = pair.probability.clamp(min=LEAST)
        # With more truths than queries, what no query can have is void.
        void = true_masks.sum(1) < 1
        share = masks.softmax(1).flatten(2)
        class_weight = (share @ void.flatten(1).to(share)[:, :, None])[:, :, 0] / (share.sum(2) + LEAST)
        for n, pair in enumerate(pairs):
            class_weight[n, pair.queries] = pair.dice
        area = torch.einsum("bnhw,bn->bhw", true_masks, true_masks.sum((2, 3)))
        rarity = area[0].numel() / area.clamp(min=1)
        return _Goal(true_masks, true_classes, class_weight.clamp(min=LEAST), mask_weight, void, rarity)

    def layer(self, found: Masks, goal: _Goal) -> dict[str, Tensor]:
        """The parts of one layer's result."""
        masks, true, void = _single(found.masks).flatten(2), goal.masks.flatten(2), goal.void.flatten(1)
        parts = {
            "classes": class_cross_entropy(_single(found.classes), goal.classes, goal.class_weight),
            "masks": mask_cross_entropy(masks, true, void),
            "dice": mask_dice(masks, true, void, goal.mask_weight),
        }
        if found.pixels is not None:
            parts["pixels"] = discrimination(
                _single(found.pixels),
                goal.masks,
                goal.void,
                goal.rarity,
                self.pixel_samples,
                self.pixel_temperature,
                self.likeness,
            )
        return parts


def class_cross_entropy(logits: Tensor, true: Tensor, weight: Tensor, real: float = 0.75) -> Tensor:
    """Of (B, N, K + 1), with `true` and `weight` (B, N); void, the last class, counts with 1 - real."""
    entropy = F.cross_entropy(logits.transpose(1, 2), true, reduction="none")
    balance = torch.where(true == logits.shape[2] - 1, 1 - real, real)
    return _mean_of_nonzero(balance * entropy * weight)


def mask_cross_entropy(logits: Tensor, true: Tensor, void: Tensor) -> Tensor:
    """Over queries: logits and true masks (B, N, P), void (B, P)."""
    return _mean_of_nonzero(F.cross_entropy(logits, true, reduction="none").masked_fill(void.bool(), 0))


def mask_dice(logits: Tensor, true: Tensor, void: Tensor, weight: Tensor) -> Tensor:
    """1 - Dice of logits and true masks (B, N, P) outside of void (B, P), times `weight` (B, N)."""
    share = logits.softmax(1).masked_fill(void.bool()[:, None], 0)
    dice = (2 * (share * true).sum(2) + 1) / (share.sum(2) + true.sum(2) + 1)
    return 0.75 * ((1 - dice) * weight).mean(1).mean()


def discrimination(
    pixels: Tensor, true: Tensor, void: Tensor, rarity: Tensor, samples: int, temperature: float, likeness: float
) -> Tensor:
    """Instance discrimination of pixels (B, C, h, w) by true masks (B, N, h, w), void and rarity (B, h, w)."""
    chosen = sample(void, rarity, samples, temperature)[:, None]
    own = true.flatten(2).gather(2, chosen.expand(-1, true.shape[1], -1))
    same = own.transpose(1, 2) @ own
    same = same / same.sum(1, keepdim=True).clamp(min=1)
    features = pixels.flatten(2).gather(2, chosen.expand(-1, pixels.shape[1], -1))
    alike = features.transpose(1, 2) @ features / likeness
    return _mean_of_nonzero(F.cross_entropy(alike, same, reduction="none"))


def semantic_cross_entropy(
    logits: Tensor, labels: Tensor, void: Tensor, rarity: Tensor, samples: int, temperature: float
) -> Tensor:
    """Of (B, K, h, w) with labels (B, h, w), -1 being ignored."""
    logits, labels = logits.flatten(2), labels.flatten(1)
    if samples:
        chosen = sample(void, rarity, samples, temperature)
        labels = labels.gather(1, chosen)
        logits = logits.gather(2, chosen[:, None].expand(-1, logits.shape[1], -1))
    return _mean_of_nonzero(F.cross_entropy(logits, labels, ignore_index=-1, reduction="none"))


def sample(void: Tensor, rarity: Tensor, samples: int, temperature: float) -> Tensor:
    """(B, min(samples, P)) different pixels, drawn like rarity^temperature (by Gumbel noise); void last."""
    wish = rarity.flatten(1).log() * temperature - 99_999.0 * void.flatten(1).to(rarity)
    noise = -torch.log(-torch.log(torch.rand_like(wish)))
    return (wish + noise).topk(min(samples, wish.shape[1])).indices


def nearest(maps: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """(B, H, W) sampled to another size: every n-th pixel from the first where that fits, else the nearest."""
    for axis, length in ((1, size[0]), (2, size[1])):
        own = maps.shape[axis]
        if own == length:
            continue
        if length > 1 and (own - 1) % (length - 1) == 0:
            index = torch.arange(length, device=maps.device) * ((own - 1) // (length - 1))
        else:
            index = ((torch.arange(length, device=maps.device) + 0.5) * own / length).long()
        maps = maps.index_select(axis, index)
    return maps


def _one_hot(places: Tensor, count: int, kind: torch.dtype) -> Tensor:
    """(count, P) of places (P,), where -1 is none."""
    return (places == torch.arange(count, device=places.device)[:, None]).to(kind)


def _mean_of_nonzero(values: Tensor) -> Tensor:
    """Mean over samples of the sum of (B, P) by the number of values that are not 0."""
    return (values.sum(1) / (values != 0).sum(1).clamp(min=1)).mean()


def _single(x: Tensor) -> Tensor:
    """Single precision at least."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
