"""DRCT under its official names and calling conventions."""

__all__ = ["DRCT_TABLE", "drct_mapping"]

from torch import nn

from apps.vision.golden_calls import call_tokens, pair
from apps.vision.rules import pointwise_rules
from apps.vision.superres.models.drct import DRCT, DenseGroup
from apps.vision.superres.models.goldens_swinir import (
    CONVS,
    REBUILT,
    block_rules,
    call_network,
    common,
    enter_as_released,
    mapped,
    patch,
    shell_rules,
    shift_of,
    swin_block_of,
    window_of,
)
from core.checkpoint import Mapping, Rule
from core.mixers.goldens import GOLDENS as CORE
from core.verify import Facts, Golden


def drct(facts: Facts) -> nn.Module:
    dim = facts.get("embed_dim", 96)
    network = DRCT(
        facts.get("upscale", 2),
        channels=facts.get("in_chans", 3),
        dim=dim,
        heads=facts.get("num_heads", (6, 6, 6, 6))[: len(facts.get("depths", (6, 6, 6, 6)))],
        window=window_of(facts, patch(facts)),
        growth=facts.get("gc", 32),
        value_range=facts.get("img_range", 1.0),
        shifted=bool(shift_of(facts, patch(facts), 1)),
        make_join=CONVS[facts.get("resi_connection", "1conv")],
        **common(facts),
    )
    return enter_as_released(network, facts, dim)


def group_rules(ours: str, theirs: str) -> list[Rule]:
    """Five blocks and the 1 x 1 convolutions after them."""
    rules = []
    for number in range(5):
        rules += block_rules(f"{ours}blocks.{number}.", f"{theirs}swin{number + 1}.")
        linear = f"{ours}leave" if number == 4 else f"{ours}narrow.{number}"
        rules += pointwise_rules(linear, f"{theirs}adjust{number + 1}")
    return rules


def drct_mapping(network: DRCT) -> Mapping:
    """The release's names, for a network as it was built."""
    return Mapping(*shell_rules(network), *group_rules("body.groups.{g}.", "layers.{g}."), ignore=REBUILT)


def group(facts: Facts) -> nn.Module:
    size = pair(facts.config["input_resolution"])
    return DenseGroup(
        facts.config["dim"],
        facts.config["num_heads"],
        window_of(facts, size),
        growth=facts.config["gc"],
        shifted=bool(shift_of(facts, size, 1)),
        **common(facts),
    )


DRCT_TABLE = {
    "DRCT": Golden(drct, mapped(drct, drct_mapping), call_network),
    "RDG": Golden(group, Mapping(*group_rules("", ""), ignore=REBUILT), call_tokens),
    "SwinTransformerBlock": Golden(swin_block_of, Mapping(*block_rules("", ""), ignore=REBUILT), call_tokens),
    "WindowAttention": CORE["swin"]["WindowAttention"],
}
