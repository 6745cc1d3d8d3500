"""NAT's and DiNAT's weights under the names of their release, whose downsamplings stand at the end of a level."""

__all__ = ["nat_release", "neighbourhood_rules"]

from torch import Tensor

from apps.vision.backbones.names import Release
from apps.vision.backbones.nat import NAT
from apps.vision.rules import frame_rules
from core.checkpoint import Rule, derive, same


def nat_release(network: NAT) -> Release:
    """SHI-Labs/Neighborhood-Attention-Transformer."""
    downs: list[Rule] = []
    for i in range(1, len(network.channels)):
        theirs = f"levels.{i - 1}.downsample."
        downs += [
            same(f"stages.{i}.down.proj.{{p}}", f"{theirs}reduction.{{p}}"),
            same(f"stages.{i}.down.norm.{{p}}", f"{theirs}norm.{{p}}"),
        ]
    ours, theirs = "stages.{i}.blocks.{j}.", "levels.{i}.blocks.{j}."
    return Release(
        (
            same("stages.0.down.steps.{n}.proj.{p}", "patch_embed.proj.{n}.{p}"),
            same("stages.0.down.steps.1.norm.{p}", "patch_embed.norm.{p}"),
            *downs,
            *frame_rules(ours, theirs),
            same(f"{ours}mix.scale", f"{theirs}gamma1"),
            *neighbourhood_rules(f"{ours}mix.inner.", f"{theirs}attn."),
            same(f"{ours}feed.scale", f"{theirs}gamma2"),
        ),
        (same("norm_tokens.{p}", "norm.{p}"), same("linear.{p}", "head.{p}")),
        (same("{i}.{p}", "norm{i}.{p}"),),
    )


def neighbourhood_rules(ours: str, theirs: str) -> tuple[Rule, ...]:
    """The attention of a block."""
    return (
        same(f"{ours}qkv.{{p}}", f"{theirs}qkv.{{p}}"),
        same(f"{ours}out.{{p}}", f"{theirs}proj.{{p}}"),
        derive(f"{ours}table", f"{theirs}rpb", _rows),
    )


def _rows(table: Tensor) -> Tensor:
    """(heads, 2 K - 1, 2 K - 1) -> (rows, heads)."""
    return table.flatten(1).mT
