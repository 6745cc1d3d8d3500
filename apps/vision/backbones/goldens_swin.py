"""Swin under its release's class names and arguments; its smaller parts stand in `core.mixers.goldens`.

The code for classification shrinks window and table to a map that is no larger, and shifts nothing there; the code for
dense prediction, which knows no classes, does neither.
"""

__all__ = ["SWIN"]

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from apps.vision.backbones.base import Normed
from apps.vision.backbones.goldens_common import Whole, call_pyramid, call_whole, released
from apps.vision.backbones.names import Release
from apps.vision.backbones.names_swin import swin_official
from apps.vision.backbones.swin import Swin, swin_blocks
from apps.vision.golden_calls import pair
from core.checkpoint import derive, same
from core.positions import LearnedPosition
from core.verify import Facts, Golden


def _arguments(facts: Facts) -> dict[str, Any]:
    return {
        "mlp_ratio": facts.get("mlp_ratio", 4.0),
        "bias": facts.get("qkv_bias", True),
        "score_scale": facts.get("qk_scale", None),
    }


def _dense(facts: Facts) -> bool:
    return not any(name in facts.config for name in ("img_size", "num_classes"))


def _swin(facts: Facts) -> nn.Module:
    depths, heads = facts.get("depths", (2, 2, 6, 2)), facts.get("num_heads", (3, 6, 12, 24))
    window = facts.get("window_size", 7)
    backbone = Swin(
        facts.get("embed_dim", 96),
        depths,
        heads,
        window=window,
        channels=facts.get("in_chans", 3),
        official=_dense(facts),
        **_arguments(facts),
    )
    grid = [side // 4 for side in pair(facts.get("img_size", 224))]
    stem = backbone.stages[0].down
    if not facts.get("patch_norm", True):
        stem.norm = nn.Identity()
    if facts.get("ape", False):
        stem.norm = nn.Sequential(stem.norm, LearnedPosition(backbone.channels[0], grid))
    if _dense(facts):
        network = Normed(backbone)
        for level in set(range(len(depths))) - set(facts.get("out_indices", range(len(depths)))):
            network.norms[level] = nn.Identity()
        return network
    for level, stage in enumerate(backbone.stages):
        smallest = min(grid) // 2**level
        if smallest <= window:
            shares = [0.0] * depths[level]
            own = swin_blocks(stage.dim, heads[level], smallest, shares, shifted=False, **_arguments(facts))
            stage.blocks = nn.ModuleList(own)
    return Whole(backbone, facts.get("num_classes", 1000))


def _names(backbone: Swin) -> Release:
    release, norm = swin_official(backbone), backbone.stages[0].down.norm
    if not isinstance(norm, nn.Sequential):
        return release
    table = "stages.0.down.norm.1.table"
    height, width, _ = norm[1].table.shape
    rules = (
        same("stages.0.down.norm.0.{p}", "patch_embed.norm.{p}"),
        same("stages.0.down.proj.{p}", "patch_embed.proj.{p}"),
        derive(
            table,
            "absolute_pos_embed",
            lambda t: t[0].unflatten(0, (height, width)) if t.ndim == 3 else t[0].movedim(0, -1),
        ),
    )
    return replace(release, trunk=(*rules, *release.trunk[1:]))


def _call(run: Any, inputs: dict[str, Tensor]) -> Any:
    if not isinstance(run.module, Normed):
        return call_whole(lambda x: x)(run, inputs)
    # Levels that are not handed out have no norm.
    maps = zip(call_pyramid(run, inputs), run.module.norms, strict=True)
    return [x for x, norm in maps if not isinstance(norm, nn.Identity)]


SWIN = {"SwinTransformer": Golden(_swin, released(_swin, _names), _call)}
