"""D-Former's release (kkk55596/D-Former) in our names, for the whole network and its parts."""

__all__ = ["block_rules", "dformer_mapping", "dformer_official", "enlarge_rules", "merging_rules", "position_rules"]

from torch import Tensor

from apps.vision.rules import PARAMETERS, frame_rules, layer_rules, thirds
from core.checkpoint import Mapping, Rule, derive, same


def _turned(t: Tensor) -> Tensor:
    """Eight tokens of a pair an axis, the last axis running fastest, to the first running fastest."""
    return t.unflatten(-1, (2, 2, 2, -1)).transpose(-4, -2).flatten(-4)


def block_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """Attention and MLP."""
    mixer = thirds(f"{ours}mix.inner.groups.", f"{theirs}attn.")
    return [*frame_rules(ours, theirs), *mixer]


def position_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """The convolution in front of a stage."""
    return [same(f"{ours}{p}", f"{theirs}proj.0.{p}") for p in PARAMETERS]


def merging_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """Eight tokens to one."""
    rules = [derive(f"{ours}norm.{p}", f"{theirs}norm.{p}", _turned) for p in PARAMETERS]
    return [*rules, derive(f"{ours}reduction.weight", f"{theirs}reduction.weight", _turned)]


def enlarge_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """A token to several; also the first part of a head."""
    return [same(f"{ours}expand.weight", f"{theirs}expand.weight"), *layer_rules(f"{ours}norm", f"{theirs}norm")]


def dformer_mapping(levels: int, theirs: str = "") -> list[Rule]:
    """Encoder and decoder.

    Args:
        levels: of the encoder.
        theirs: in front of the release's names.
    """
    rules = [same("embed.{m}.{p}", f"{theirs}patch_embed.{{m}}.{{p}}")]
    rules += layer_rules("norm", f"{theirs}norm") + layer_rules("norm_up", f"{theirs}norm_up")
    rules += position_rules("down.{i}.position.", f"{theirs}layers.{{i}}.pos_block.")
    rules += block_rules("down.{i}.blocks.{j}.", f"{theirs}layers.{{i}}.blocks.{{j}}.")
    rules += merging_rules("merges.{i}.", f"{theirs}layers.{{i}}.downsample.")
    rules += enlarge_rules("enlarge.0.", f"{theirs}layers_up.0.")
    for n in range(1, levels):
        up = f"{theirs}layers_up.{n}."
        rules += layer_rules(f"join.{n - 1}", f"{theirs}concat_back_dim.{n}")
        rules += position_rules(f"up.{n - 1}.position.", f"{up}pos_block.")
        rules += block_rules(f"up.{n - 1}.blocks.{{j}}.", f"{up}blocks.{{j}}.")
        rules += enlarge_rules(f"enlarge.{n}.", f"{up}upsample.") if n < levels - 1 else []
    return rules


def dformer_official(levels: int = 4) -> Mapping:
    """The whole network with its heads."""
    heads = enlarge_rules("heads.{i}.", "final.{i}.0.")
    out = derive("heads.{i}.out.weight", "final.{i}.1.weight", lambda t: t.flatten(1))
    return Mapping(*dformer_mapping(levels, "model_down."), *heads, out)
