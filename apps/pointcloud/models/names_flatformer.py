"""Names of FlatFormer's release and ours."""

__all__ = ["flatformer_rules", "layer_rules"]

from torch import Tensor

from core.checkpoint import Rule, derive, same


def first_two(packed: Tensor) -> Tensor:
    """q and k of the three that are stacked."""
    return packed[: len(packed) // 3 * 2]


def last(packed: Tensor) -> Tensor:
    """v of the three."""
    return packed[len(packed) // 3 * 2 :]


def layer_rules(ours: str, theirs: str) -> list[Rule]:
    """A layer."""
    rules = [
        same(f"{ours}{mine}.{{p}}", f"{theirs}{official}.{{p}}")
        for mine, official in {
            "out": "attn.attn.out_proj",
            "norm": "norm1",
            "enter": "fc1",
            "leave": "fc2",
            "mlp_norm": "norm2",
        }.items()
    ]
    for part in ("weight", "bias"):
        official = f"{theirs}attn.attn.in_proj_{part}"
        rules += [derive(f"{ours}qk.{part}", official, first_two), derive(f"{ours}v.{part}", official, last)]
    return rules


def flatformer_rules(ours: str, theirs: str, depth: int) -> list[Rule]:
    """The encoder of `depth` blocks."""
    return [
        rule
        for block in range(depth)
        for layer in range(4)
        for rule in layer_rules(f"{ours}layers.{4 * block + layer}.", f"{theirs}block_list.{block}.block.{layer}.")
    ]
