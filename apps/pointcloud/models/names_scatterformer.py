"""Names of ScatterFormer's release and ours."""

__all__ = ["attention_rules", "cross_window_rules", "pool_rules", "scatterformer_rules", "stage_rules"]

from functools import partial

from torch import Tensor

from apps.pointcloud.models.names_openpcdet import sparse_block_rules, sparse_kernel
from core.checkpoint import Rule, derive, same


def third(number: int, packed: Tensor) -> Tensor:
    """q, k or v of what is stacked."""
    return packed.chunk(3)[number]


def attention_rules(ours: str, theirs: str) -> list[Rule]:
    """Linear attention, whose projections are one there."""
    rules = [same(f"{ours}out.{{p}}", f"{theirs}proj.{{p}}")]
    for number, name in enumerate("qkv"):
        rules.append(derive(f"{ours}{name}.{{p}}", f"{theirs}qkv.{{p}}", partial(third, number)))
    return rules


def cross_window_rules(ours: str, theirs: str) -> list[Rule]:
    """Depthwise cube and lines, two linear layers."""
    rules = [same(f"{ours}convs.{number}.weight", f"{theirs}conv_{name}.weight") for number, name in enumerate("khw")]
    return [
        *rules,
        same(f"{ours}norm.{{p}}", f"{theirs}bn.{{p}}"),
        same(f"{ours}mlp_norm.{{p}}", f"{theirs}bn2.{{p}}"),
        same(f"{ours}enter.{{p}}", f"{theirs}fc1.{{p}}"),
        same(f"{ours}leave.{{p}}", f"{theirs}fc2.{{p}}"),
    ]


def stage_rules(ours: str, theirs: str) -> list[Rule]:
    """A stage without the norm behind it."""
    return [
        same(f"{ours}norms.{{i}}.{{p}}", f"{theirs}norm_layers.{{i}}.{{p}}"),
        *attention_rules(f"{ours}attentions.{{i}}.", f"{theirs}attn_layers.{{i}}."),
        *cross_window_rules(f"{ours}mixers.{{i}}.", f"{theirs}cffn_layers.{{i}}."),
    ]


def pool_rules(ours: str, theirs: str) -> list[Rule]:
    """The pool over columns."""
    rules = [
        same(f"{ours}norm.{{p}}", f"{theirs}norm.{{p}}"),
        same(f"{ours}position", f"{theirs}pos_embedding.weight"),
        same(f"{ours}out.{{p}}", f"{theirs}self_attn.out_proj.{{p}}"),
    ]
    for number, name in enumerate("qkv"):
        for part in ("weight", "bias"):
            official = f"{theirs}self_attn.in_proj_{part}"
            rules.append(derive(f"{ours}{name}.{part}", official, partial(third, number)))
    return rules


def scatterformer_rules(ours: str, theirs: str) -> list[Rule]:
    """The whole backbone."""
    rules = pool_rules(f"{ours}pool.", f"{theirs}app.")
    for name, number in (("enter", 0), ("flatten", 4)):
        rules.append(derive(f"{ours}{name}.conv.weight", f"{theirs}cpe.{number}.0.weight", sparse_kernel))
        rules.append(same(f"{ours}{name}.norm.{{p}}", f"{theirs}cpe.{number}.1.{{p}}"))
    for number in range(3):
        rules += sparse_block_rules(f"{ours}blocks.{number}.", f"{theirs}cpe.{number + 1}.")
    for number in range(2):
        rules += stage_rules(f"{ours}stages.{number}.", f"{theirs}stage{number + 1}.0.")
        rules.append(same(f"{ours}norms.{number}.{{p}}", f"{theirs}stage{number + 1}.1.{{p}}"))
    rules.append(derive(f"{ours}down.weight", f"{theirs}stage1.2.weight", sparse_kernel))
    return rules
