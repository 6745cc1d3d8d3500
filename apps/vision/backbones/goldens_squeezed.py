"""SHViT and EfficientViT under their official constructor arguments."""

__all__ = ["EFFICIENTVIT", "SHVIT"]

from collections.abc import Callable

from torch import nn

from apps.vision.backbones.efficientvit import EfficientViT
from apps.vision.backbones.goldens_common import Whole, call_whole, released
from apps.vision.backbones.names_squeezed import (
    SKIPPED,
    cascaded_rules,
    efficientvit_release,
    shvit_release,
    single_head_rules,
)
from apps.vision.backbones.shvit import SHViT
from apps.vision.golden_calls import call_part, channels_first
from core.checkpoint import Mapping
from core.mixers import CascadedGroupAttention, SingleHeadAttention
from core.verify import Facts, Golden


def _shvit(facts: Facts) -> Whole:
    widths = facts.get("partial_dim", (32, 64, 96))
    kinds = facts.get("types", ("s", "s", "s"))
    backbone = SHViT(
        facts.get("depth", (1, 2, 3)),
        facts.get("embed_dim", (128, 256, 384)),
        [width if kind == "s" else 0 for width, kind in zip(widths, kinds, strict=True)],
        head_dim=facts.get("qk_dim", (16, 16, 16))[-1],
        channels=facts.get("in_chans", 3),
    )
    return Whole(backbone, facts.get("num_classes", 1000))


def _single_head(facts: Facts) -> nn.Module:
    return SingleHeadAttention(facts.config["dim"], facts.config["pdim"], head_dim=facts.config["qk_dim"])


def _efficientvit(facts: Facts) -> Whole:
    backbone = EfficientViT(
        facts.get("depth", (1, 2, 3)),
        facts.get("embed_dim", (64, 128, 192)),
        facts.get("num_heads", (4, 4, 4)),
        windows=facts.get("window_size", (7, 7, 7)),
        kernels=facts.get("kernels", (5, 5, 5, 5)),
        head_dims=facts.get("key_dim", (16, 16, 16)),
        image=facts.get("img_size", 224),
        channels=facts.get("in_chans", 3),
        official=True,
    )
    return Whole(backbone, facts.get("num_classes", 1000))


def _cascaded(facts: Facts) -> nn.Module:
    return CascadedGroupAttention(
        facts.config["dim"],
        facts.get("num_heads", 8),
        facts.get("resolution", 14),
        kernels=facts.get("kernels", (5, 5, 5, 5)),
        head_dim=facts.config["key_dim"],
        official=True,
    )


def _whole(build: Callable[[Facts], Whole], names: Callable) -> Golden:
    return Golden(build, released(build, names), call_whole(channels_first))


SHVIT = {
    "SHViT": _whole(_shvit, shvit_release),
    "SHSA": Golden(_single_head, Mapping(*single_head_rules("", "")), call_part),
}
EFFICIENTVIT = {
    "EfficientViT": _whole(_efficientvit, efficientvit_release),
    "CascadedGroupAttention": Golden(
        _cascaded, Mapping(*cascaded_rules("", ""), ignore=("attention_bias_idxs", "ab", *SKIPPED)), call_part
    ),
}
