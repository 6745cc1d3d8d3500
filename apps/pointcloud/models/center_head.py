"""The head of CenterPoint (Yin et al. 2021): tokens (B, Y, X, dim) of the bird's-eye view to maps of centres and boxes.

A 3 x 3 convolution is shared; then each group of classes has its own branches of 3 x 3 convolutions:

    heat (classes), offset (2), height (1), size (3, logarithms), turn (2, cos and sin)[, velocity (2)][, iou (1)]

    loss = heat + box_weight (sum of weighted code losses) [+ |iou - (2 IoU - 1)|] [+ box_weight (1 - distance IoU)]

with IoU that of the decoded box, without gradient, and the annotated one; means over boxes. The IoU branch (Hu et al.
2022, ScatterFormer) mends scores, `decode.CenterDecoder`.

Decided: targets of a group are drawn from labels that nothing rewrites (the release renumbers them in place, head by
head, which gives a later group objects of other classes when groups are not consecutive).
"""

__all__ = ["CenterHead"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from apps.pointcloud.iou import distance_iou, iou_3d
from apps.pointcloud.models.decode import CODES, boxes_of_codes
from apps.pointcloud.models.layers import as_map, as_tokens
from apps.pointcloud.models.losses import code_loss, heat_loss
from apps.pointcloud.models.targets import BevGrid, CenterTargets, center_targets
from core.layout import Ragged

PRIOR = -2.19
"""Bias of the heat: a chance of a tenth everywhere."""


class CenterHead(nn.Module):
    """Maps of centres and boxes, and their loss.

    Args:
        dim: channels of the tokens.
        grid: of the map.
        groups: labels of the classes of each head; all classes in one by default would be `[[0, 1, 2]]`.
        shared_dim: channels behind the shared convolution.
        depth: convolutions of a branch.
        heat_depth: convolutions of the heat's branch.
        velocity: predict it.
        iou: predict the IoU of the box.
        overlap_loss: add the distance IoU of boxes to the loss.
        heat_weight, box_weight: of the parts of the loss.
        code_weights: of 2 offsets, height, 3 sizes, cos, sin[, 2 velocities]; by default 1, and .2 for velocities.
        overlap, least_radius: of the targets' heat, see `targets`.
        bias: convolutions before norms have one.
        eps, momentum: of the norms; 1e-5 and .1 in OpenPCDet's own CenterPoint.
        official: boxes off the map are learnt at its border.
    """

    def __init__(
        self,
        dim: int,
        grid: BevGrid,
        groups: Sequence[Sequence[int]],
        shared_dim: int = 64,
        depth: int = 2,
        heat_depth: int = 2,
        velocity: bool = False,
        iou: bool = False,
        overlap_loss: bool = False,
        heat_weight: float = 1.0,
        box_weight: float = 2.0,
        code_weights: Sequence[float] | None = None,
        overlap: float = 0.1,
        least_radius: int = 2,
        bias: bool = False,
        eps: float = 1e-3,
        momentum: float = 0.01,
        official: bool = False,
    ) -> None:
        super().__init__()
        self.grid, self.groups, self.official = grid, [list(group) for group in groups], official
        self.overlap, self.least_radius = overlap, least_radius
        self.overlap_loss, self.heat_weight, self.box_weight = overlap_loss, heat_weight, box_weight
        weights = list(code_weights) if code_weights is not None else [1.0] * 8 + [0.2] * 2 * velocity
        if len(weights) != 8 + 2 * velocity:
            raise ValueError(f"CenterHead: {len(weights)} code_weights for {8 + 2 * velocity} codes; give one a code.")
        self.register_buffer("code_weights", torch.tensor(weights), persistent=False)
        self.shared = _layer(dim, shared_dim, bias)
        widths = {"offset": 2, "height": 1, "size": 3, "turn": 2}
        widths |= {"velocity": 2} if velocity else {}
        widths |= {"iou": 1} if iou else {}
        self.heads = nn.ModuleList()
        for group in self.groups:
            branches = {name: _branch(shared_dim, width, depth, bias) for name, width in widths.items()}
            for part in nn.ModuleDict(branches).modules():
                if isinstance(part, nn.Conv2d):
                    nn.init.kaiming_normal_(part.weight)
                    if part.bias is not None:
                        nn.init.zeros_(part.bias)
            branches["heat"] = _branch(shared_dim, len(group), heat_depth, bias)
            nn.init.constant_(branches["heat"][-1].bias, PRIOR)
            self.heads.append(nn.ModuleDict(branches))
        for part in self.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eps, part.momentum = eps, momentum

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        """Maps (B, Y, X, channels) by name, of each group."""
        if tuple(x.shape[1:3]) != self.grid.size[::-1]:
            raise ValueError(
                f"CenterHead: the map is {x.shape[2]} x {x.shape[1]} cells, the grid {self.grid.size[0]} x "
                f"{self.grid.size[1]}; make point_range, voxel and stride agree."
            )
        y = self.shared(as_map(x))
        return [{name: as_tokens(branch(y)) for name, branch in head.items()} for head in self.heads]

    def targets(self, boxes: Ragged, labels: Tensor) -> list[CenterTargets]:
        """Of each group, of boxes (M, 7 or 9) and labels (M,) of a batch."""
        return [
            center_targets(
                boxes,
                labels,
                self.grid,
                group,
                overlap=self.overlap,
                least=self.least_radius,
                official=self.official,
            )
            for group in self.groups
        ]

    def loss(self, outputs: Sequence[dict[str, Tensor]], targets: Sequence[CenterTargets]) -> dict[str, Tensor]:
        """`loss` and its parts `heat`, `boxes`[, `iou`][, `overlap`], each summed over the groups."""
        parts: dict[str, Tensor] = {}
        for maps, target in zip(outputs, targets, strict=True):
            for name, value in self.parts(maps, target).items():
                parts[name] = parts[name] + value if name in parts else value
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    def parts(self, maps: dict[str, Tensor], target: CenterTargets) -> dict[str, Tensor]:
        """Parts of the loss of one group."""

        def at_boxes(name: str) -> Tensor:
            return maps[name].flatten(1, 2)[target.sample, target.cell].to(target.heat.dtype)

        codes = torch.cat([at_boxes(name) for name in CODES if name in maps], 1)
        weights = self.code_weights.to(codes)  # type: ignore[operator]
        per_code = code_loss(codes, target.codes[:, : codes.shape[1]])
        parts = {
            "heat": self.heat_weight * heat_loss(maps["heat"], target.heat),
            "boxes": self.box_weight * (per_code * weights).sum(),
        }
        number = max(len(codes), 1)
        boxes = boxes_of_codes(codes, target.cell, self.grid)[:, :7]
        if "iou" in maps:
            wanted = 2 * iou_3d(boxes.detach(), target.boxes[:, :7]) - 1 if len(boxes) else boxes[:, 0]
            parts["iou"] = (at_boxes("iou")[:, 0] - wanted).abs().sum() / number
        if self.overlap_loss:
            parts["overlap"] = self.box_weight * (1 - distance_iou(boxes, target.boxes[:, :7])).sum() / number
        return parts


def _layer(dim: int, out_dim: int, bias: bool) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(dim, out_dim, 3, padding=1, bias=bias), nn.BatchNorm2d(out_dim), nn.ReLU())


def _branch(dim: int, out_dim: int, depth: int, bias: bool) -> nn.Sequential:
    return nn.Sequential(*(_layer(dim, dim, bias) for _ in range(depth - 1)), nn.Conv2d(dim, out_dim, 3, padding=1))
