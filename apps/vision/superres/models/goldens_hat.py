"""HAT under its official names and calling conventions.

The release's index of the overlapping windows runs from the key to the query and has a wrong offset, so that half of
it is negative and wraps round the table.  Its rows are brought into the order of ours when they are loaded: with
w the window, o the window of keys and R = (w + o - 1)^2 rows, row r of the release is row R - 1 - (r + s) mod R here,
s = (o - 2) (w + o).
"""

__all__ = ["HAT_TABLE", "hat_mapping", "ordered_table"]

from typing import Any

from torch import Tensor, nn

from apps.vision.golden_calls import call_part, call_tokens, pair
from apps.vision.rules import frame_rules, pointwise_rules, thirds
from apps.vision.superres.models.goldens_swinir import (
    CONVS,
    REBUILT,
    call_network,
    common,
    conv_rules,
    enter_as_released,
    mapped,
    patch,
    shell_rules,
    shift_of,
    window_of,
)
from apps.vision.superres.models.hat import HAT
from apps.vision.superres.models.hat_layers import ConvBranch, HybridBlock, HybridGroup, overlapping_block
from core.blocks import Block
from core.checkpoint import Mapping, Rule, derive, same
from core.mixers.goldens import GOLDENS as CORE
from core.mixers.overlapping import OverlappingAttention
from core.verify import Facts, Golden


def hat(facts: Facts) -> nn.Module:
    dim, window = facts.get("embed_dim", 96), facts.get("window_size", 7)
    network = HAT(
        facts.get("upscale", 2),
        channels=facts.get("in_chans", 3),
        dim=dim,
        depths=facts.get("depths", (6, 6, 6, 6)),
        heads=facts.get("num_heads", (6, 6, 6, 6)),
        window=window,
        overlap=int(facts.get("overlap_ratio", 0.5) * window) // 2,
        value_range=facts.get("img_range", 1.0),
        shifted=bool(shift_of(facts, patch(facts), 1)),
        make_conv=CONVS[facts.get("resi_connection", "1conv")],
        **branch(facts),
        **common(facts),
    )
    return enter_as_released(network, facts, dim)


def branch(facts: Facts) -> dict[str, Any]:
    """The convolutions of a hybrid block, in our names."""
    return {
        "compress": facts.get("compress_ratio", 3),
        "squeeze": facts.get("squeeze_factor", 30),
        "conv_scale": facts.get("conv_scale", 0.01),
    }


def ordered_table(window: int, overlap: int, table: Tensor) -> Tensor:
    """The release's rows in the order of `core.positions.RelativeTable`."""
    wide = window + 2 * overlap
    return table.roll((wide - 2) * (window + wide), 0).flip(0)


def branch_rules(ours: str, theirs: str) -> list[Rule]:
    """Convolutions and channel attention, whose 1 x 1 convolutions are Linear here."""
    return [
        same(f"{ours}enter.{{p}}", f"{theirs}cab.0.{{p}}"),
        same(f"{ours}leave.{{p}}", f"{theirs}cab.2.{{p}}"),
        *pointwise_rules(f"{ours}attention.enter", f"{theirs}cab.3.attention.1"),
        *pointwise_rules(f"{ours}attention.leave", f"{theirs}cab.3.attention.3"),
    ]


def hybrid_rules(ours: str, theirs: str) -> list[Rule]:
    """A hybrid block."""
    return [
        same(f"{ours}norm1.{{p}}", f"{theirs}norm1.{{p}}"),
        *thirds(f"{ours}attention.groups.", f"{theirs}attn."),
        same(f"{ours}attention.groups.score_bias.table", f"{theirs}attn.relative_position_bias_table"),
        *branch_rules(f"{ours}conv.", f"{theirs}conv_block."),
        same(f"{ours}norm2.{{p}}", f"{theirs}norm2.{{p}}"),
        same(f"{ours}mlp.enter.{{p}}", f"{theirs}mlp.fc1.{{p}}"),
        same(f"{ours}mlp.leave.{{p}}", f"{theirs}mlp.fc2.{{p}}"),
    ]


def overlapping_rules(ours: str, theirs: str, window: int, overlap: int) -> list[Rule]:
    """An overlapping block."""
    return [
        *frame_rules(ours, theirs),
        *thirds(f"{ours}mix.inner.groups.", theirs),
        derive(
            f"{ours}mix.inner.groups.score_bias.table",
            f"{theirs}relative_position_bias_table",
            lambda table: ordered_table(window, overlap, table),
        ),
    ]


def reach(block: Block) -> tuple[int, int]:
    """Window and overlap of an overlapping block."""
    mixer = block.mix.inner
    assert isinstance(mixer, OverlappingAttention)
    return mixer.partition.window[0], mixer.partition.before[0]


def hat_mapping(network: HAT) -> Mapping:
    """The release's names, for a network as it was built."""
    theirs = "layers.{g}.residual_group."
    return Mapping(
        *shell_rules(network),
        *hybrid_rules("body.groups.{g}.blocks.{i}.", f"{theirs}blocks.{{i}}."),
        *overlapping_rules(
            "body.groups.{g}.overlapping.", f"{theirs}overlap_attn.", *reach(network.body.groups[0].overlapping)
        ),
        *conv_rules("body.groups.{g}.conv", "layers.{g}.conv"),
        ignore=(*REBUILT, "relative_position_index_SA", "relative_position_index_OCA"),
    )


def hybrid_block(facts: Facts, shift: int, ratio: float = 4.0) -> HybridBlock:
    size = pair(facts.config["input_resolution"])
    return HybridBlock(
        facts.config["dim"],
        facts.config["num_heads"],
        window_of(facts, size),
        shift_of(facts, size, shift),
        **branch(facts),
        **common(facts, ratio),
    )


def ocab(facts: Facts, ratio: float = 2.0) -> Block:
    window = facts.config["window_size"]
    overlap = int(facts.config["overlap_ratio"] * window) // 2
    return overlapping_block(facts.config["dim"], facts.config["num_heads"], window, overlap, **common(facts, ratio))


def group(facts: Facts) -> HybridGroup:
    half = facts.config["window_size"] // 2
    blocks = [hybrid_block(facts, half if number % 2 else 0) for number in range(facts.config["depth"])]
    conv = CONVS[facts.get("resi_connection", "1conv")](facts.config["dim"])
    return HybridGroup(blocks, ocab(facts, 4.0), conv)


def group_mapping(module: HybridGroup) -> Mapping:
    return Mapping(
        *hybrid_rules("blocks.{i}.", "residual_group.blocks.{i}."),
        *overlapping_rules("overlapping.", "residual_group.overlap_attn.", *reach(module.overlapping)),
        *conv_rules("conv", "conv"),
    )


def conv_branch(facts: Facts) -> nn.Module:
    return ConvBranch(facts.config["num_feat"], facts.get("compress_ratio", 3), facts.get("squeeze_factor", 30))


def call_windows(run: Any, inputs: dict[str, Tensor]) -> Tensor:
    """The index table follows from the window."""
    return run(inputs["x"], inputs.get("mask"))


_WINDOWS = CORE["swin"]["WindowAttention"]

HAT_TABLE = {
    "HAT": Golden(hat, mapped(hat, hat_mapping), call_network),
    "RHAG": Golden(group, mapped(group, group_mapping), call_tokens),
    "HAB": Golden(
        lambda facts: hybrid_block(facts, facts.get("shift_size", 0)), Mapping(*hybrid_rules("", "")), call_tokens
    ),
    "OCAB": Golden(ocab, mapped(ocab, lambda module: Mapping(*overlapping_rules("", "", *reach(module)))), call_tokens),
    "CAB": Golden(conv_branch, Mapping(*branch_rules("", "")), call_part),
    "WindowAttention": Golden(_WINDOWS.build, _WINDOWS.mapping, call_windows),
}
