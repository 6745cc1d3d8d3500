"""The head of SECOND (Yan et al. 2018) and PointPillars (Lang et al. 2019): boxes as differences to anchors.

Each cell of the map has an anchor of every class, size and rotation. Anchors stand on a grid that reaches from the
range's least to its greatest x and y INCLUSIVE, so their step is a little more than a cell. A class's anchors see the
boxes of their class alone, by the IoU of boxes turned to the axes: positive from `matched` on, or if no anchor has a
larger IoU with some box; background below `unmatched`; ignored between. A positive one learns the box it overlaps most:

    (dx, dy) / diagonal of the anchor, dz / its height, log ratios of the sizes, difference of the headings

The heading's loss is of sin(a - b), which does not know front from back; a classifier of two bins does.

    loss = focal + 2 smooth L1 + .2 cross-entropy of the bins, each over the positive anchors of a sample, mean over B

All anchors of a class meet all boxes of the batch at once.
"""

__all__ = ["AnchorClass", "AnchorHead", "AnchorTargets", "decode_boxes", "encode_boxes"]

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.pointcloud.boxes import wrap
from apps.pointcloud.iou import nearest_bev_iou
from apps.pointcloud.models.decode import Detections
from apps.pointcloud.models.losses import focal_loss, smooth_l1
from apps.pointcloud.nms import nms
from core.layout import Ragged


@dataclass(frozen=True)
class AnchorClass:
    """Anchors of the class at the same position in a head's list.

    Args:
        sizes: (dx, dy, dz) of each.
        bottom: z of their lower face.
        matched: IoU from which an anchor is positive.
        unmatched: IoU below which it is background.
        rotations: headings.
    """

    sizes: tuple[tuple[float, float, float], ...]
    bottom: float
    matched: float
    unmatched: float
    rotations: tuple[float, ...] = (0.0, 1.57)


class AnchorTargets(NamedTuple):
    """Of N anchors.

    Attributes:
        labels: (B, N) 0 background, -1 ignored, else the class from 1.
        codes: (B, N, 7), zeros where the anchor is not positive.
    """

    labels: Tensor
    codes: Tensor


class AnchorHead(nn.Module):
    """Tokens (B, Y, X, dim) to scores, codes and directions of every anchor, and their loss.

    Args:
        dim: channels of the tokens.
        point_range: least x, y, z and greatest x, y, z.
        size: cells along x and y.
        anchors: of each class; label n is trained on anchors[n].
        heat_weight, box_weight, direction_weight: of the parts of the loss.
        code_weights: of the seven codes, 1 by default.
        bins: of the direction.
        turn: where the bins begin, in radians.
    """

    def __init__(
        self,
        dim: int,
        point_range: Sequence[float],
        size: tuple[int, int],
        anchors: Sequence[AnchorClass],
        heat_weight: float = 1.0,
        box_weight: float = 2.0,
        direction_weight: float = 0.2,
        code_weights: Sequence[float] | None = None,
        bins: int = 2,
        turn: float = 0.78539,
    ) -> None:
        super().__init__()
        self.classes, self.size, self.bins, self.turn = list(anchors), tuple(size), bins, turn
        self.weights = (heat_weight, box_weight, direction_weight)
        code_weights = [1.0] * 7 if code_weights is None else list(code_weights)
        self.register_buffer("code_weights", torch.tensor(code_weights), persistent=False)
        self.register_buffer("anchors", _anchors(point_range, size, self.classes), persistent=False)
        self.number = self.anchors.shape[2]  # type: ignore[union-attr]
        self.scores = nn.Linear(dim, self.number * len(self.classes))
        self.codes = nn.Linear(dim, self.number * 7)
        self.directions = nn.Linear(dim, self.number * bins)
        # Of a hundred anchors one is positive, to begin with.
        nn.init.constant_(self.scores.bias, -math.log((1 - 0.01) / 0.01))
        nn.init.normal_(self.codes.weight, std=0.001)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """`scores` (B, N, classes) logits, `codes` (B, N, 7), `directions` (B, N, bins); N = Y X anchors of a cell."""
        if tuple(x.shape[1:3]) != self.size[::-1]:
            raise ValueError(
                f"AnchorHead: the map is {x.shape[2]} x {x.shape[1]} cells, the head is built for {self.size[0]} x "
                f"{self.size[1]}; make point_range, voxel and stride agree."
            )
        widths = {"scores": len(self.classes), "codes": 7, "directions": self.bins}
        return {name: getattr(self, name)(x).reshape(len(x), -1, width) for name, width in widths.items()}

    @torch.no_grad()
    def targets(self, boxes: Ragged, labels: Tensor) -> AnchorTargets:
        """Of boxes (M, 7 or 9) and labels (M,) of a batch."""
        sample = boxes.segment_ids()
        anchors = self.anchors.to(boxes.tokens)  # type: ignore[operator]
        all_labels = labels.new_zeros(boxes.batch, *anchors.shape[:3])
        codes = anchors.new_zeros(boxes.batch, *anchors.shape)
        first = 0
        for label, kind in enumerate(self.classes):
            own = slice(first, first + len(kind.sizes) * len(kind.rotations))
            first = own.stop
            flat = anchors[:, :, own].reshape(-1, 7)
            mine = (labels == label).nonzero()[:, 0]
            overlaps = nearest_bev_iou(flat, boxes.tokens[mine, :7])
            for n in range(boxes.batch):
                here = (sample[mine] == n).nonzero()[:, 0]
                given, code = _assign(flat, boxes.tokens[mine[here], :7], overlaps[:, here], kind)
                all_labels[n, :, :, own] = torch.where(given > 0, label + 1, given).view(*anchors.shape[:2], -1)
                codes[n, :, :, own] = code.view(*anchors.shape[:2], -1, 7)
        return AnchorTargets(all_labels.flatten(1), codes.flatten(1, 3))

    def loss(self, outputs: dict[str, Tensor], targets: AnchorTargets) -> dict[str, Tensor]:
        """`loss` and its parts `heat`, `boxes`, `directions`."""
        labels, wanted = targets
        dtype = wanted.dtype
        positive = labels > 0
        share = positive / positive.sum(1, keepdim=True).clamp(min=1).to(dtype)
        weight = (labels >= 0) / positive.sum(1, keepdim=True).clamp(min=1).to(dtype)
        chosen = F.one_hot(labels.clamp(min=0), len(self.classes) + 1)[..., 1:].to(dtype)
        heat = (focal_loss(outputs["scores"].to(dtype), chosen) * weight[..., None]).sum()
        codes, turned = outputs["codes"].to(dtype)[positive], wanted[positive]
        angle = torch.sin(codes[:, 6:] - turned[:, 6:])
        apart = torch.cat([codes[:, :6] - turned[:, :6], angle], 1) * self.code_weights.to(codes)  # type: ignore[operator]
        boxes = (smooth_l1(apart) * share[positive][:, None]).sum()
        flat = self.anchors.to(wanted).view(-1, 7)  # type: ignore[operator]
        heading = (wanted[..., 6] + flat[:, 6])[positive]
        period = 2 * math.pi / self.bins
        bins = (wrap(heading - self.turn, 2 * math.pi, 0.0) / period).floor().long().clamp(0, self.bins - 1)
        cross = F.cross_entropy(outputs["directions"].to(dtype)[positive], bins, reduction="none")
        directions = (cross * share[positive]).sum()
        parts = {
            name: value * weight / len(labels)
            for name, value, weight in zip(
                ("heat", "boxes", "directions"), (heat, boxes, directions), self.weights, strict=True
            )
        }
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    def boxes(self, outputs: dict[str, Tensor]) -> Tensor:
        """(B, N, 7) of every anchor."""
        found = decode_boxes(outputs["codes"], self.anchors.to(outputs["codes"]).view(-1, 7))  # type: ignore[operator]
        period = 2 * math.pi / self.bins
        heading = wrap(found[..., 6] - self.turn, period, 0.0) + self.turn
        heading = heading + period * outputs["directions"].argmax(-1).to(heading)
        return torch.cat([found[..., :6], heading[..., None]], -1)

    @torch.no_grad()
    def detect(
        self, outputs: dict[str, Tensor], least: float = 0.1, threshold: float = 0.01, pre: int = 4096, post: int = 500
    ) -> list[Detections]:
        """One entry a sample: boxes of the best class of each anchor, those that overlap a better one removed.

        Args:
            outputs: of `forward`.
            least: smallest score.
            threshold: IoU above which the lower score is removed, whatever the classes.
            pre, post: boxes before and after.
        """
        scores, labels = outputs["scores"].sigmoid().max(-1)
        result = []
        for n, boxes in enumerate(self.boxes(outputs)):
            some = ((scores[n] >= least) & boxes.isfinite().all(1)).nonzero()[:, 0]
            kept = some[nms(boxes[some], scores[n][some], threshold, pre=pre, post=post)]
            result.append(Detections(boxes[kept], scores[n][kept], labels[n][kept]))
        return result


def _assign(anchors: Tensor, boxes: Tensor, overlaps: Tensor, kind: AnchorClass) -> tuple[Tensor, Tensor]:
    """(N,) 1 positive, 0 background, -1 ignored; (N, 7) codes; of one class and sample, overlaps (N, M)."""
    codes = anchors.new_zeros(len(anchors), 7)
    if not len(boxes):
        return torch.zeros(len(anchors), dtype=torch.int64, device=anchors.device), codes
    best, box = overlaps.max(1)
    most = overlaps.amax(0)
    forced = ((overlaps == most) & (most > 0)).any(1)
    given = torch.where(best < kind.unmatched, 0, -1)
    given[(best >= kind.matched) | forced] = 1
    positive = (given > 0).nonzero()[:, 0]
    codes[positive] = encode_boxes(boxes[box[positive]], anchors[positive])
    return given, codes


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """(..., 7) codes."""
    size, own = boxes[..., 3:6].clamp(min=1e-5), anchors[..., 3:6].clamp(min=1e-5)
    unit = torch.cat([own[..., :2].norm(dim=-1, keepdim=True).expand_as(own[..., :2]), own[..., 2:]], -1)
    shift = (boxes[..., :3] - anchors[..., :3]) / unit
    return torch.cat([shift, (size / own).log(), boxes[..., 6:7] - anchors[..., 6:7]], -1)


def decode_boxes(codes: Tensor, anchors: Tensor) -> Tensor:
    """(..., 7) boxes; the inverse."""
    own = anchors[..., 3:6]
    unit = torch.cat([own[..., :2].norm(dim=-1, keepdim=True).expand_as(own[..., :2]), own[..., 2:]], -1)
    return torch.cat(
        [codes[..., :3] * unit + anchors[..., :3], codes[..., 3:6].exp() * own, codes[..., 6:7] + anchors[..., 6:7]], -1
    )


def _anchors(point_range: Sequence[float], size: Sequence[int], classes: Sequence[AnchorClass]) -> Tensor:
    """(Y, X, anchors of a cell, 7)."""
    x, y = (
        torch.arange(size[n], dtype=torch.float64) * ((point_range[n + 3] - point_range[n]) / max(size[n] - 1, 1))
        + point_range[n]
        for n in range(2)
    )
    own = [
        (kind.bottom + dz / 2, dx, dy, dz, turn)
        for kind in classes
        for dx, dy, dz in kind.sizes
        for turn in kind.rotations
    ]
    rest = torch.tensor(own, dtype=torch.float64).expand(len(y), len(x), -1, -1)
    places = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)[:, :, None].expand(-1, -1, len(own), -1)
    return torch.cat([places, rest], -1).float()
