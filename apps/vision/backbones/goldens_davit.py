"""DaViT's code for dense prediction under its class names and arguments.

Bare blocks of channels have no bias in q, k and v unless asked for; overlapping patches and an activation in the
positions are arguments that no published network sets.
"""

__all__ = ["DAVIT"]

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from apps.vision.backbones.base import Normed
from apps.vision.backbones.davit import DaViT, DaViTBlock
from apps.vision.backbones.goldens_common import call_pyramid, released
from apps.vision.backbones.names_davit import davit_block_rules, davit_channel_rules, davit_official
from apps.vision.golden_calls import call_tokens, on_map, pair
from core.checkpoint import Mapping
from core.mixers import ChannelGroupAttention, Mixer, WindowAttention
from core.positions import ConditionalPosition
from core.resample import ConvEmbed
from core.verify import Facts, Golden


def _channel(facts: Facts) -> Mixer:
    return ChannelGroupAttention(facts.config["dim"], facts.get("num_heads", 8), bias=facts.get("qkv_bias", False))


def _spatial(facts: Facts) -> Mixer:
    return WindowAttention(
        facts.config["dim"],
        facts.get("num_heads", 8),
        pair(facts.get("window_size", 7)),
        bias=facts.get("qkv_bias", True),
        make_score_bias=None,
        official=True,
    )


def _activate(network: nn.Module, facts: Facts) -> None:
    if facts.get("cpe_act", False):
        for part in network.modules():
            if isinstance(part, ConditionalPosition):
                part.activation = nn.GELU()


def _block(mixer: Callable[[Facts], Mixer]) -> Callable[[Facts], nn.Module]:
    def make(facts: Facts) -> nn.Module:
        block = DaViTBlock(facts.config["dim"], mixer(facts), mlp_ratio=facts.get("mlp_ratio", 4.0))
        _activate(block, facts)
        return block

    return make


def _size(facts: Facts) -> tuple[int, int]:
    if "size" in facts.config:
        return pair(facts.config["size"])
    return facts.config["H"], facts.config["W"]


def _davit(facts: Facts) -> nn.Module:
    backbone = DaViT(
        facts.get("embed_dims", (64, 128, 192, 256)),
        facts.get("depths", (1, 1, 3, 1)),
        facts.get("num_heads", (3, 6, 12, 24)),
        window=facts.get("window_size", 7),
        channels=facts.get("in_chans", 3),
        mlp_ratio=facts.get("mlp_ratio", 4.0),
        bias=facts.get("qkv_bias", True),
        official=True,
    )
    _activate(backbone, facts)
    if facts.get("overlapped_patch", False):
        for before, stage in zip(backbone.channels, backbone.stages[1:], strict=False):
            stage.down.embed = ConvEmbed(before, stage.dim, (3, 3), (2, 2))
    types = tuple(facts.get("attention_types", ("spatial", "channel")))
    if len(types) != 2:
        raise ValueError(f"attention_types {types} of DaViT: only pairs of blocks are known here")
    for stage in backbone.stages:
        mixers = [block.mix.inner for block in stage.blocks]
        for place, block in enumerate(stage.blocks):
            block.mix.inner = mixers[place - place % 2 + (types[place % 2] == "channel")]
            if not facts.get("ffn", True):
                block.feed = nn.Identity()
    return Normed(backbone)


def _call_attention(run: Any, inputs: dict[str, Tensor]) -> Tensor:
    return run(inputs["x"])


DAVIT = {
    "ChannelAttention": Golden(_channel, Mapping(*davit_channel_rules("", "")), _call_attention),
    "SpatialBlock": Golden(
        on_map(_block(_spatial), _size),
        Mapping(*davit_block_rules("", "", windows=True, positions=("cpe.0", "cpe.1"))),
        call_tokens,
    ),
    "ChannelBlock": Golden(
        on_map(_block(_channel), _size),
        Mapping(*davit_block_rules("", "", windows=False, positions=("cpe.0", "cpe.1"))),
        call_tokens,
    ),
    "DaViT": Golden(_davit, released(_davit, davit_official), call_pyramid),
}
