"""SwinIR under its official names and calling conventions, and what the networks after it took over.

Tokens are (B, H W, C) with x_size = (H, W) beside them.  The releases fix window and shift by the training patch
(`input_resolution`): no larger than the window, it becomes the window, and nothing is shifted.
"""

__all__ = [
    "SWINIR",
    "block_rules",
    "call_network",
    "common",
    "enter_as_released",
    "shell_rules",
    "shift_of",
    "swin_block_of",
    "swinir_mapping",
    "window_of",
]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from apps.vision.golden_calls import call_tokens, pair
from apps.vision.rules import frame_rules, thirds
from apps.vision.superres.models.shell import (
    DirectUpsampler,
    NearestUpsampler,
    Refiner,
    Shell,
    ShuffleUpsampler,
    reflect,
)
from apps.vision.superres.models.swinir import SwinGroup, SwinIR, conv3, conv_bottleneck, swin_block
from core.checkpoint import Mapping, Rule, derive, same
from core.mixers.goldens import GOLDENS as CORE
from core.positions import LearnedPosition
from core.verify import Facts, Golden

UPSAMPLERS = {
    "pixelshuffle": ShuffleUpsampler,
    "pixelshuffledirect": DirectUpsampler,
    "nearest+conv": NearestUpsampler,
    "": Refiner,
}
CONVS: dict[str, Callable[[int], nn.Module]] = {
    "1conv": conv3,
    "3conv": conv_bottleneck,
    "identity": lambda dim: nn.Identity(),
}


def window_of(facts: Facts, resolution: tuple[int, int]) -> int:
    """The window blocks really have."""
    return min(facts.get("window_size", 7), *resolution)


def shift_of(facts: Facts, resolution: tuple[int, int], shift: int) -> int:
    """The shift blocks really have."""
    return shift if min(resolution) > facts.get("window_size", 7) else 0


def common(facts: Facts, ratio: float = 4.0) -> dict[str, Any]:
    """What all of a network's blocks share, in our names."""
    return {
        "mlp_ratio": facts.get("mlp_ratio", ratio),
        "bias": facts.get("qkv_bias", True),
        "score_scale": facts.get("qk_scale", None),
    }


def patch(facts: Facts) -> tuple[int, int]:
    """Tokens of the training patch."""
    height, width = pair(facts.get("img_size", 64))
    return height // facts.get("patch_size", 1), width // facts.get("patch_size", 1)


def enter_as_released(network: Shell, facts: Facts, dim: int) -> Shell:
    """What stands in front of the groups, and the padding, which keeps to the window that was asked for."""
    network.multiple = facts.get("window_size", 7)
    trunk = network.body
    assert isinstance(trunk.enter, nn.Module)
    norm = trunk.enter if facts.get("patch_norm", True) else nn.Identity()
    trunk.enter = nn.Sequential(norm, LearnedPosition(dim, patch(facts))) if facts.get("ape", False) else norm
    return network


def enlargement(facts: Facts) -> int:
    """How much the release really enlarges: with an upsampler that has one step, by 2, without one, not at all."""
    upscale, name = facts.get("upscale", 2), facts.get("upsampler", "")
    if name == "nearest+conv":
        return 4 if upscale == 4 else 2
    return upscale if name else 1


def swinir(facts: Facts) -> nn.Module:
    dim = facts.get("embed_dim", 96)
    network = SwinIR(
        enlargement(facts),
        channels=facts.get("in_chans", 3),
        dim=dim,
        depths=facts.get("depths", (6, 6, 6, 6)),
        heads=facts.get("num_heads", (6, 6, 6, 6)),
        window=window_of(facts, patch(facts)),
        value_range=facts.get("img_range", 1.0),
        shifted=bool(shift_of(facts, patch(facts), 1)),
        make_conv=CONVS[facts.get("resi_connection", "1conv")],
        make_upsampler=UPSAMPLERS[facts.get("upsampler", "")],
        **common(facts),
    )
    # The release cuts its output to what it was asked for, not to what it makes.
    network.asked = facts.get("upscale", 2)  # type: ignore[assignment]
    return enter_as_released(network, facts, dim)


def call_network(run: Any, inputs: dict[str, Tensor]) -> Tensor:
    """The image through the network; where that enlarges otherwise than asked for, cut as the release cuts."""
    image, network = inputs["x"], run.module
    asked = getattr(network, "asked", network.scale)
    if asked == network.scale:
        return run(image)
    height, width = image.shape[2:]
    return run(reflect(image, network.multiple))[:, :, : height * asked, : width * asked]


def block_rules(ours: str, theirs: str) -> list[Rule]:
    """A Swin block."""
    return [
        *frame_rules(ours, theirs),
        *thirds(f"{ours}mix.inner.groups.", f"{theirs}attn."),
        same(f"{ours}mix.inner.groups.score_bias.table", f"{theirs}attn.relative_position_bias_table"),
    ]


def conv_rules(ours: str, theirs: str) -> list[Rule]:
    """One convolution, or three between activations."""
    return [same(f"{ours}.{{p}}", f"{theirs}.{{p}}"), same(f"{ours}.{{i}}.{{p}}", f"{theirs}.{{i}}.{{p}}")]


# Rebuilt here: masks and index tables, by any path.
REBUILT = ("{x*}.attn_mask", "{x*}.relative_position_index", "attn_mask", "relative_position_index")


def shell_rules(network: Shell) -> list[Rule]:
    """Everything around the groups."""
    upsampler = network.upsampler
    if isinstance(upsampler, DirectUpsampler):
        tail = [same("upsampler.conv.{p}", "upsample.0.{p}")]
    elif isinstance(upsampler, Refiner):
        tail = [same("upsampler.conv.{p}", "conv_last.{p}")]
    else:
        tail = [
            same("upsampler.enter.{p}", "conv_before_upsample.0.{p}"),
            same("upsampler.leave.{p}", "conv_last.{p}"),
        ]
        if isinstance(upsampler, NearestUpsampler):
            tail += [same(f"upsampler.steps.{i}.{{p}}", f"conv_up{i + 1}.{{p}}") for i in range(len(upsampler.steps))]
            tail.append(same("upsampler.refine.{p}", "conv_hr.{p}"))
        else:
            assert isinstance(upsampler, ShuffleUpsampler)
            steps = range(len(upsampler.steps))
            tail += [same(f"upsampler.steps.{i}.{{p}}", f"upsample.{2 * i}.{{p}}") for i in steps]
    norm = "body.enter.0" if isinstance(network.body.enter, nn.Sequential) else "body.enter"
    grid = network.body.enter[1].table.shape if norm == "body.enter.0" else ()  # type: ignore[index, union-attr]
    return [
        same("enter.{p}", "conv_first.{p}"),
        same(f"{norm}.{{p}}", "patch_embed.norm.{p}"),
        derive("body.enter.1.table", "absolute_pos_embed", lambda table: table.view(grid)),
        same("body.leave.{p}", "norm.{p}"),
        *conv_rules("join", "conv_after_body"),
        *tail,
    ]


def swinir_mapping(network: SwinIR) -> Mapping:
    """The release's names, for a network as it was built."""
    return Mapping(
        *shell_rules(network),
        *block_rules("body.groups.{g}.blocks.{i}.", "layers.{g}.residual_group.blocks.{i}."),
        *conv_rules("body.groups.{g}.conv", "layers.{g}.conv"),
        ignore=REBUILT,
    )


def mapped(build: Callable[[Facts], nn.Module], mapping: Callable[[Any], Mapping]) -> Callable[[Facts], Mapping]:
    """A mapping that depends on the network, for facts."""

    def make(facts: Facts) -> Mapping:
        with torch.device("meta"):
            return mapping(build(facts))

    return make


def swin_block_of(facts: Facts) -> nn.Module:
    """One block by itself."""
    size = pair(facts.config["input_resolution"])
    return swin_block(
        facts.config["dim"],
        facts.config["num_heads"],
        window_of(facts, size),
        shift_of(facts, size, facts.get("shift_size", 0)),
        **common(facts),
    )


def _blocks(facts: Facts) -> list[nn.Module]:
    size = pair(facts.config["input_resolution"])
    half = facts.config["window_size"] // 2
    return [
        swin_block(
            facts.config["dim"],
            facts.config["num_heads"],
            window_of(facts, size),
            shift_of(facts, size, half if number % 2 else 0),
            **common(facts),
        )
        for number in range(facts.config["depth"])
    ]


SWINIR = {
    "SwinIR": Golden(swinir, mapped(swinir, swinir_mapping), call_network),
    "RSTB": Golden(
        lambda facts: SwinGroup(_blocks(facts), CONVS[facts.get("resi_connection", "1conv")](facts.config["dim"])),
        Mapping(*block_rules("blocks.{i}.", "residual_group.blocks.{i}."), *conv_rules("conv", "conv"), ignore=REBUILT),
        call_tokens,
    ),
    "BasicLayer": Golden(
        lambda facts: nn.Sequential(*_blocks(facts)),
        Mapping(*block_rules("{i}.", "blocks.{i}."), ignore=REBUILT),
        call_tokens,
    ),
    "SwinTransformerBlock": Golden(swin_block_of, Mapping(*block_rules("", ""), ignore=REBUILT), call_tokens),
    "WindowAttention": CORE["swin"]["WindowAttention"],
}
