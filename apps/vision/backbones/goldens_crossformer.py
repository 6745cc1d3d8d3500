"""CrossFormer under its release's class names and arguments.

The release builds its groups for one size of the map: no larger than a group on either axis, it becomes the group.  Its
filling up may stand on both sides (`pad_type`) and may attend (`no_mask`); the interval may follow from the size
(`adaptive_interval`).
"""

__all__ = ["CROSSFORMER"]

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.backbones.crossformer import Cooling, CrossFormer, crossformer_block
from apps.vision.backbones.goldens_common import Whole, call_whole, released
from apps.vision.backbones.names import Release
from apps.vision.backbones.names_crossformer import (
    crossformer_attention_rules,
    crossformer_block_rules,
    crossformer_official,
)
from apps.vision.golden_calls import call_tokens, flat, on_map, pair
from core.blocks import Block
from core.checkpoint import Mapping, derive, same
from core.mixers.groups import GroupAttention
from core.partitions import Whole as OneGroup
from core.positions import DynamicBias, LearnedPosition
from core.verify import Facts, Golden


class _Group(nn.Module):
    """Attention of groups that are cut already."""

    def __init__(self, facts: Facts) -> None:
        super().__init__()
        dim, heads = facts.config["dim"], facts.config["num_heads"]
        self.window = pair(facts.config["group_size"])
        self.own = GroupAttention(
            dim,
            heads,
            bias=facts.get("qkv_bias", True),
            score_bias=DynamicBias(heads, dim // 4 // 4) if facts.get("position_bias", True) else None,
            dropout=0.0,
            scale=facts.get("qk_scale", None),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.own(x.unflatten(1, self.window), OneGroup().plan(self.window), None).flatten(1, 2)


class _Filled(nn.Module):
    """A mixer of a map filled up by the release's rules; goes by the mixer's own names."""

    def __init__(self, groups: nn.Module, cell: int, *, centred: bool, leaks: bool) -> None:
        super().__init__()
        self.inner = (groups,)
        self.groups = groups.groups
        self.cell, self.centred, self.leaks = cell, centred, leaks

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        missing = [-n % self.cell for n in (height, width)]
        top, left = (n // 2 if self.centred else 0 for n in missing)
        sides = (left, missing[1] - left, top, missing[0] - top)
        mask = F.pad(x.new_ones(x.shape[:3], dtype=torch.bool), sides, value=self.leaks)
        y = self.inner[0](F.pad(x, (0, 0, *sides)), mask=mask)
        return y[:, top : top + height, left : left + width]


def _block(facts: Facts, dim: int, heads: int, size: Sequence[int], window: int, interval: int, ratio: float) -> Block:
    """A block of a map of this size; interval 0 = short distance."""
    if min(size) <= window:
        window, interval = min(size), 0
    elif interval and facts.get("adaptive_interval", False):
        interval = -(-size[0] // window)
    block = crossformer_block(
        dim,
        heads,
        window,
        max(interval, 1),
        mlp_ratio=ratio,
        bias=facts.get("qkv_bias", True),
        score_scale=facts.get("qk_scale", None),
    )
    centred, leaks = facts.get("pad_type", 0) != 0, facts.get("no_mask", False)
    if centred or leaks:
        cell = window * max(interval, 1)
        block.mix.inner = _Filled(block.mix.inner, cell, centred=centred, leaks=leaks)
    return block


def _cooled_block(facts: Facts) -> nn.Module:
    dim = facts.config["dim"]
    block = _block(
        facts,
        dim,
        facts.config["num_heads"],
        pair(facts.config["input_resolution"]),
        facts.get("group_size", 7),
        facts.get("interval", 8) if facts.get("lsda_flag", 0) else 0,
        facts.get("mlp_ratio", 4.0),
    )
    return nn.Sequential(block, Cooling(dim)) if facts.get("use_extra_conv", True) else nn.Sequential(block)


def _windows(facts: Facts, depths: Sequence[int]) -> list[list[int]]:
    """Side of the groups of every block."""
    sizes = facts.get("group_size", (7, 7, 7, 7))
    halved = facts.get("group_type", "constant") == "7_14"
    return [
        [size // 2 if halved and level == 2 and number < 4 else size for number in range(depth)]
        for level, (size, depth) in enumerate(zip(sizes, depths, strict=True))
    ]


def _whole(facts: Facts) -> nn.Module:
    depths, heads = facts.get("depths", (2, 2, 6, 2)), facts.get("num_heads", (3, 6, 12, 24))
    ratios = facts.get("mlp_ratio", (4.0,) * len(depths))
    intervals = facts.get("crs_interval", (8, 4, 2, 1))
    patches = facts.get("patch_size", (4,))
    backbone = CrossFormer(
        facts.get("embed_dim", 96),
        depths,
        heads,
        windows=facts.get("group_size", (7, 7, 7, 7)),
        intervals=intervals,
        patches=patches,
        merges=facts.get("merge_size", ((2,), (2,), (2,))),
        channels=facts.get("in_chans", 3),
        mlp_ratios=ratios,
        cooled=facts.get("use_acl", False),
    )
    side = pair(facts.get("img_size", 224))[0] // patches[0]
    for level, (stage, windows) in enumerate(zip(backbone.stages, _windows(facts, depths), strict=True)):
        size, own = (side // 2**level,) * 2, iter(range(depths[level]))
        for place, block in enumerate(stage.blocks):
            if isinstance(block, Block):
                number = next(own)
                interval = intervals[level] if number % 2 else 0
                stage.blocks[place] = _block(
                    facts, stage.dim, heads[level], size, windows[number], interval, ratios[level]
                )
    stem = backbone.stages[0].down
    if not facts.get("patch_norm", True):
        stem.norm = nn.Identity()
    if facts.get("ape", False):
        stem.norm = nn.Sequential(stem.norm, LearnedPosition(backbone.channels[0], (side, side)))
    return Whole(backbone, facts.get("num_classes", 1000))


def _names(backbone: CrossFormer) -> Release:
    release, norm = crossformer_official(backbone), backbone.stages[0].down.norm
    if not isinstance(norm, nn.Sequential):
        return release
    grid = tuple(norm[1].table.shape[:2])
    rules = (
        same("stages.0.down.projs.{k}.{p}", "patch_embed.projs.{k}.{p}"),
        same("stages.0.down.norm.0.{p}", "patch_embed.norm.{p}"),
        derive("stages.0.down.norm.1.table", "absolute_pos_embed", lambda t: t[0].unflatten(0, grid)),
    )
    return replace(release, trunk=(*rules, *release.trunk[1:]))


def _call_group(run: Any, inputs: dict[str, Tensor]) -> Tensor:
    return run(inputs["x"])


CROSSFORMER = {
    "Attention": Golden(_Group, Mapping(*crossformer_attention_rules("own.", "")), _call_group),
    "CrossFormerBlock": Golden(
        on_map(_cooled_block, lambda facts: pair(facts.config["input_resolution"])),
        Mapping(
            *crossformer_block_rules("0.", ""),
            same("1.local.{p}", "ex_conv.{p}"),
            same("1.norm.{p}", "ex_ln.{p}"),
        ),
        call_tokens,
    ),
    "CrossFormer": Golden(_whole, released(_whole, _names), call_whole(flat)),
}
