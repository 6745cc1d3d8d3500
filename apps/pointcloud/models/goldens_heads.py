"""Heads under the names and calling conventions of OpenPCDet, for `omnimix verify`."""

__all__ = ["HEADS"]

from typing import Any

import torch
from torch import Tensor

from apps.pointcloud.models.anchor_head import AnchorClass, AnchorHead
from apps.pointcloud.models.center_head import CenterHead
from apps.pointcloud.models.decode import CenterDecoder
from apps.pointcloud.models.names_heads import BRANCHES, anchor_rules, center_rules
from apps.pointcloud.models.targets import BevGrid
from core.checkpoint import Mapping
from core.layout import Ragged
from core.verify import Facts, Golden

_OURS = {official: mine for mine, official in BRANCHES.items()}


def _grid(facts: Facts) -> BevGrid:
    stride = facts.config["TARGET_ASSIGNER_CONFIG"].get("FEATURE_MAP_STRIDE", 1)
    return BevGrid.of(facts.config["point_cloud_range"], facts.config["voxel_size"], stride)


def _groups(facts: Facts) -> list[list[int]]:
    names = facts.config["class_names"]
    return [[names.index(name) for name in group if name in names] for group in facts.config["CLASS_NAMES_EACH_HEAD"]]


def _center_head(facts: Facts) -> CenterHead:
    branches = facts.config["SEPARATE_HEAD_CFG"]["HEAD_DICT"]
    depths = {branch["num_conv"] for branch in branches.values()}
    if len(depths) != 1:
        raise ValueError("its branches have several depths")
    targets, weights = facts.config["TARGET_ASSIGNER_CONFIG"], facts.config["LOSS_CONFIG"]["LOSS_WEIGHTS"]
    return CenterHead(
        facts.weights["shared_conv.0.weight"][1],
        _grid(facts),
        _groups(facts),
        facts.config["SHARED_CONV_CHANNEL"],
        depth=depths.pop(),
        heat_depth=facts.config["NUM_HM_CONV"],
        velocity="vel" in branches,
        iou="iou" in branches,
        overlap_loss=facts.get("IOU_REG_LOSS", False),
        heat_weight=weights["cls_weight"],
        box_weight=weights["loc_weight"],
        code_weights=weights["code_weights"],
        overlap=targets["GAUSSIAN_OVERLAP"],
        least_radius=targets["MIN_RADIUS"],
        bias=facts.get("USE_BIAS_BEFORE_NORM", False),
        eps=facts.get("BN_EPS", 1e-5),
        momentum=facts.get("BN_MOM", 0.1),
        official=True,
    )


def _boxes(rows: Tensor) -> tuple[Ragged, Tensor]:
    """Rows (B, M, 8 or 10) whose last column is the class from 1, zeros at the end, as boxes and labels from 0."""
    samples = [sample[sample[:, -1] > 0].detach() for sample in rows]
    return Ragged.of([sample[:, :-1] for sample in samples]), torch.cat(
        [sample[:, -1] for sample in samples]
    ).long() - 1


def call_center_loss(run: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Maps and boxes in; raw maps, padded targets, loss and its parts out."""
    head: CenterHead = run.module
    boxes, labels = _boxes(inputs["gt"])
    outputs = run(inputs["x"].permute(0, 2, 3, 1))
    targets = head.targets(boxes, labels)
    loss = head.loss(outputs, targets)
    result = {"loss": loss["loss"], "part.rpn_loss": loss["loss"].detach()}
    for n, (maps, target) in enumerate(zip(outputs, targets, strict=True)):
        for name, value in maps.items():
            result[f"raw{n}.{BRANCHES[name]}"] = value.detach().permute(0, 3, 1, 2)
        names = {"heat": "hm_loss", "boxes": "loc_loss", "iou": "iou_loss", "overlap": "iou_reg_loss"}
        for name, value in head.parts(maps, target).items():
            result[f"part.{names[name]}_head_{n}"] = value.detach()
        # The place of a box among those of its sample and group.
        own = torch.isin(labels, torch.tensor(head.groups[n]))
        before = own.long().cumsum(0) - 1
        first = torch.cat([before.new_zeros(1), own.long().cumsum(0)])[boxes.offsets[:-1]]
        place = (before - first[boxes.segment_ids()])[target.index]
        most = head.most_objects  # type: ignore[attr-defined]
        inds, masks = (torch.zeros(len(inputs["x"]), most, dtype=torch.int64) for _ in range(2))
        codes = target.codes.new_zeros(len(inputs["x"]), most, target.codes.shape[1])
        inds[target.sample, place], masks[target.sample, place] = target.cell, 1
        codes[target.sample, place] = target.codes
        result |= {
            f"target{n}.heatmaps": target.heat.permute(0, 3, 1, 2),
            f"target{n}.inds": inds,
            f"target{n}.masks": masks,
            f"target{n}.target_boxes": codes,
        }
    return result


def _padded_center_head(facts: Facts) -> CenterHead:
    head = _center_head(facts)
    # How many rows the release pads to; the head itself has no such limit.
    head.most_objects = facts.config["TARGET_ASSIGNER_CONFIG"]["NUM_MAX_OBJS"]  # type: ignore[assignment]
    return head


def _decoder(facts: Facts) -> CenterDecoder:
    post = facts.config["POST_PROCESSING"]
    removal = post["NMS_CONFIG"]
    return CenterDecoder(
        _grid(facts),
        _groups(facts),
        removal["NMS_THRESH"],
        limit=post["MAX_OBJ_PER_SAMPLE"],
        least=post["SCORE_THRESH"],
        centre_range=post["POST_CENTER_LIMIT_RANGE"],
        rectify=post["IOU_RECTIFIER"] if post.get("USE_IOU_TO_RECTIFY_SCORE", False) else None,
        pre=removal["NMS_PRE_MAXSIZE"],
        post=removal["NMS_POST_MAXSIZE"],
    )


def call_decoder(run: CenterDecoder, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Maps named with the number of their head in; boxes, scores and labels from 1 of each sample out."""
    outputs: list[dict[str, Tensor]] = [{} for _ in run.groups]
    for name, value in inputs.items():
        stem = name.rstrip("0123456789")
        outputs[int(name[len(stem) :])][_OURS[stem]] = value.permute(0, 2, 3, 1)
    result = {}
    for n, found in enumerate(run(outputs)):
        result |= {f"boxes{n}": found.boxes, f"scores{n}": found.scores, f"labels{n}": found.labels + 1}
    return result


def _anchor_head(facts: Facts) -> AnchorHead:
    config, weights = facts.config, facts.config["LOSS_CONFIG"]["LOSS_WEIGHTS"]
    kinds = {kind["class_name"]: kind for kind in config["ANCHOR_GENERATOR_CONFIG"]}
    stride = next(iter(kinds.values()))["feature_map_stride"]
    anchors = [
        AnchorClass(
            tuple(map(tuple, kinds[name]["anchor_sizes"])),
            kinds[name]["anchor_bottom_heights"][0],
            kinds[name]["matched_threshold"],
            kinds[name]["unmatched_threshold"],
            tuple(kinds[name]["anchor_rotations"]),
        )
        for name in config["class_names"]
    ]
    return AnchorHead(
        config["input_channels"],
        config["point_cloud_range"],
        (config["grid_size"][0] // stride, config["grid_size"][1] // stride),
        anchors,
        weights["cls_weight"],
        weights["loc_weight"],
        weights["dir_weight"],
        weights["code_weights"],
        config["NUM_DIR_BINS"],
        config["DIR_OFFSET"],
    )


def call_anchor_loss(run: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Maps and boxes in; targets, loss, its parts and decoded boxes out."""
    head: AnchorHead = run.module
    outputs = run(inputs["x"].permute(0, 2, 3, 1))
    targets = head.targets(*_boxes(inputs["gt"]))
    loss = head.loss(outputs, targets)
    names = {"loss": "", "heat": "_cls", "boxes": "_loc", "directions": "_dir"}
    return {
        "loss": loss["loss"],
        "box_cls_labels": targets.labels,
        "box_reg_targets": targets.codes,
        "decoded": head.boxes(outputs).detach(),
        **{f"part.rpn_loss{suffix}": loss[name].detach() for name, suffix in names.items()},
    }


HEADS = {
    "CenterHead": Golden(
        _padded_center_head, Mapping(*center_rules("", ""), ignore=["{any*}.num_batches_tracked"]), call_center_loss
    ),
    "CenterHead.generate_predicted_boxes": Golden(_decoder, call=call_decoder),
    "AnchorHeadSingle": Golden(_anchor_head, Mapping(*anchor_rules("", "")), call_anchor_loss),
}
