"""From classes and masks of queries to segments, in the form of kMaX-DeepLab (Yu et al. 2022).

The masks of an image compete for its pixels, P = softmax over queries; p is a query's best class probability, void
being left out after the softmax.

    a query owns     the pixels where P > .4
    order            p ** class_power * (mean P over own pixels) ** mask_power, descending
    it is a segment  if p is above the threshold of things or of stuff, and more than `overlap` of its pixels are free
    stuff            segments of one class are one

Thresholds of the releases (thing, stuff, overlap, mask_power): COCO .7, .5, .8, 1; Cityscapes .5, .3, .9, 0; ADE20K .4,
.4, .8, 1.

The release goes over the whole map four times for every query. Here, only queries whose class is sure enough are looked
for, the others count in the softmax alone; since no more than two queries can own a pixel (P > 1/3), who is free where
follows from how often two own the same pixel, and one look-up writes the map. Pixels come in blocks that stay in the
cache. Identical numbers; two scores that are equal to the last digit may change places.
"""

__all__ = ["Merge", "instances", "masks_at", "panoptic", "semantic"]

from collections.abc import Collection

import torch
from torch import Tensor
from torch.nn import functional as F

from apps.vision.segmentation.models.segmenter import Instances, Panoptic

BLOCK = 4096
EDGE = 4e-6


def masks_at(masks: Tensor, padded: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Logits (B, N, h, w) at the size of the original image.

    Corners are aligned where the padded image is an odd number of pixels wide, as the network's maps are then.

    Args:
        masks: of a padded image.
        padded: (H, W) the network saw.
        size: (H, W) of the image before it was scaled into that; padding is at the right and at the bottom.
    """
    corners = padded[1] % 2 == 1
    masks = _resized(masks, padded, corners)
    scale = max(padded) / max(size)
    return _resized(masks[..., : round(size[0] * scale), : round(size[1] * scale)], size, corners)


def _resized(masks: Tensor, size: tuple[int, int], corners: bool) -> Tensor:
    if tuple(masks.shape[-2:]) == size:
        return masks
    return F.interpolate(masks, size, mode="bilinear", align_corners=corners)


def semantic(classes: Tensor, masks: Tensor) -> Tensor:
    """Scores of classes: sum over queries of p(class | query) P(query | pixel).

    Args:
        classes: (B, N, K + 1) logits, void last.
        masks: (B, N, H, W) logits.

    Returns:
        (B, K, H, W)
    """
    p = classes.softmax(-1)[..., :-1].transpose(1, 2)
    return (p @ masks.softmax(1).flatten(2)).unflatten(2, masks.shape[2:])


def instances(
    classes: Tensor, masks: Tensor, top: int = 100, pixel: float = 0.4, things: Collection[int] | None = None
) -> Instances:
    """The best pairs of a query and a class; a query may occur with several classes.

    Args:
        classes: (N, K + 1) logits, void last.
        masks: (N, H, W) logits.
        top: number of pairs, all if there are fewer.
        pixel: a query owns pixels with a larger probability.
        things: classes to keep; all by default.
    """
    p = classes.softmax(-1)[:, :-1]
    best = p.flatten().topk(min(top, p.numel()))
    queries, kinds = best.indices // p.shape[1], best.indices % p.shape[1]
    if things is not None:
        kept = torch.isin(kinds, torch.tensor(sorted(things), device=kinds.device, dtype=kinds.dtype))
        queries, kinds = queries[kept], kinds[kept]
    unique, place = queries.unique(return_inverse=True)
    share = masks.softmax(0)[unique]
    own = share > pixel
    mean = (share * own).sum((1, 2)) / (own.sum((1, 2)) + 1e-6)
    scores = p[queries, kinds] * mean[place]
    order = scores.argsort(descending=True, stable=True)
    return Instances(own[place[order]], kinds[order], scores[order])


def panoptic(
    classes: Tensor,
    masks: Tensor,
    things: Collection[int],
    *,
    pixel: float = 0.4,
    thing: float = 0.7,
    stuff: float = 0.5,
    overlap: float = 0.8,
    class_power: float = 1.0,
    mask_power: float = 1.0,
) -> Panoptic:
    """Segments that do not overlap.

    Args:
        classes: (N, K + 1) logits, void last.
        masks: (N, H, W) logits.
        things: classes whose objects are told apart.
        pixel: a query owns pixels with a larger probability; at least 1/3.
        thing, stuff: smallest probability of a class.
        overlap: share of a query's pixels that must be free.
        class_power, mask_power: of the two scores in the order.

    Returns:
        Segments in that order; stuff stands where its best query does and has the score of that one.

    Raises:
        ValueError: `pixel` below 1/3.
    """
    if pixel < 1 / 3:
        raise ValueError(f"panoptic: pixel {pixel}; give at least 1/3, below it three queries could own a pixel")
    probability, kinds = classes.softmax(-1)[:, :-1].max(-1)
    things = set(things)
    named = zip(probability.tolist(), kinds.tolist(), strict=True)
    sure = [n for n, (p, kind) in enumerate(named) if p > (thing if kind in things else stuff)]
    if not sure or not masks.shape[1:].numel():
        nothing = torch.full(masks.shape[1:], -1, device=masks.device)
        return Panoptic(nothing, kinds[:0], probability[:0])
    probability, kinds = probability[sure], kinds[sure]
    owners, share = _owners(masks.flatten(1), torch.tensor(sure, device=masks.device), pixel)
    count = len(sure)
    # Owners are numbered from 1; 0 is nobody.
    pairs = owners[0] * (count + 1) + owners[1]
    joint = torch.bincount(pairs, minlength=(count + 1) ** 2).view(count + 1, count + 1)
    joint = (joint + joint.T)[1:, :]
    total = joint.sum(1)
    sums = sum(
        torch.bincount(o, weights=s.double(), minlength=count + 1)[1:] for o, s in zip(owners, share, strict=True)
    )
    mean = sums / total.clamp(min=1)
    score = probability**class_power * mean.to(probability) ** mask_power
    accepted, segments = _chosen(
        score.argsort(descending=True, stable=True).tolist(),
        total.tolist(),
        (total.float() * overlap).tolist(),
        joint[:, 1:].tolist(),
    )
    ids, listed, of_stuff = torch.full((count + 1,), -1), list[int](), dict[int, int]()
    for n in segments:
        kind = int(kinds[n])
        if kind in things or kind not in of_stuff:
            of_stuff[kind] = len(listed)
            listed.append(n)
        ids[n + 1] = of_stuff[kind]
    # Of two owners, the one that was accepted first has the pixel.
    when = torch.tensor([float("inf"), *accepted])
    table = torch.where(when[:, None] <= when, ids[:, None], ids)
    segments_map = table.to(masks.device).flatten()[pairs].view(masks.shape[1:])
    return Panoptic(segments_map, kinds[listed], score[listed])


def _chosen(
    order: list[int], total: list[int], needed: list[float], joint: list[list[int]]
) -> tuple[list[float], list[int]]:
    """For each query when it was accepted, infinity if never, and those that were, in order."""
    accepted, taken = [float("inf")] * len(order), list[int]()
    for n in order:
        free = total[n] - sum(joint[n][other] for other in taken)
        if free > needed[n]:
            accepted[n] = len(taken)
            taken.append(n)
    return accepted, taken


def _owners(masks: Tensor, sure: Tensor, pixel: float) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """First and second owner (P,) of every pixel among `sure`, counted from 1 with 0 for nobody, and their shares."""
    count = masks.shape[1]
    first, second = (torch.zeros(count, dtype=torch.int64, device=masks.device) for _ in range(2))
    p_first, p_second = (masks.new_zeros(count) for _ in range(2))
    close = []
    for start in range(0, count, BLOCK):
        block = slice(start, start + BLOCK)
        x = masks[:, block]
        wanted = x.index_select(0, sure)
        top, place = wanted.max(0)
        # A larger logit of another query may overflow here: then the share is 0, as it should be.
        whole = (x - top).exp_().sum(0)
        p = whole.reciprocal()
        first[block] = torch.where(p > pixel, place + 1, 0)
        p_first[block] = torch.where(p > pixel, p, 0)
        close.append(((p - pixel).abs() < EDGE).nonzero()[:, 0] + start)
        # Only below 1 - pixel, and a little for rounding, there is room for a second one.
        both = ((p > pixel) & (p < 1 - pixel + 1e-4)).nonzero()[:, 0]
        if len(both) and len(sure) > 1:
            others = wanted[:, both].scatter_(0, place[both][None], -torch.inf)
            value, where = others.max(0)
            q = (value - top[both]).exp() * p[both]
            second[start + both] = torch.where(q > pixel, where + 1, 0)
            p_second[start + both] = torch.where(q > pixel, q, 0)
            close.append(both[(q - pixel).abs() < EDGE] + start)
    # Where rounding decides, the softmax itself does.
    edge = torch.cat(close).unique()
    share, place = masks[:, edge].softmax(0)[sure].topk(min(2, len(sure)), dim=0)
    own = share > pixel
    for n, (owner, p_owner) in enumerate(((first, p_first), (second, p_second))[: len(sure)]):
        owner[edge], p_owner[edge] = torch.where(own[n], place[n] + 1, 0), torch.where(own[n], share[n], 0)
    return (first, second), (p_first, p_second)


class Merge:
    """`panoptic` with its thresholds, to be built from a configuration; those for COCO by default.

    Args:
        pixel, thing, stuff, overlap, class_power, mask_power: of `panoptic`.
    """

    def __init__(
        self,
        pixel: float = 0.4,
        thing: float = 0.7,
        stuff: float = 0.5,
        overlap: float = 0.8,
        class_power: float = 1.0,
        mask_power: float = 1.0,
    ) -> None:
        self.pixel, self.thing, self.stuff, self.overlap = pixel, thing, stuff, overlap
        self.class_power, self.mask_power = class_power, mask_power

    def __call__(self, classes: Tensor, masks: Tensor, things: Collection[int]) -> Panoptic:
        """Segments of one image, of (N, K + 1) and (N, H, W) logits."""
        return panoptic(
            classes,
            masks,
            things,
            pixel=self.pixel,
            thing=self.thing,
            stuff=self.stuff,
            overlap=self.overlap,
            class_power=self.class_power,
            mask_power=self.mask_power,
        )
