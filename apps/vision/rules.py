"""Rules that the names of several vision releases are made of.

Prefixes of layers come without their last dot (`layer_rules("head.out", "decode_head.conv_seg")`), those of parts with
it (`thirds("mix.inner.groups.", "attn.")`), so that a part may be the whole.
"""

__all__ = [
    "COUNTERS",
    "NORM",
    "PARAMETERS",
    "below",
    "conv_rules",
    "frame_rules",
    "layer_rules",
    "pointwise",
    "pointwise_rules",
    "third",
    "thirds",
]

from collections.abc import Callable, Iterable
from dataclasses import replace

from torch import Tensor

from core.checkpoint import Rule, derive, same

PARAMETERS = ("weight", "bias")
NORM = (*PARAMETERS, "running_mean", "running_var")
# Steps that a batch norm counts and nothing reads.
COUNTERS = ("{rest*}.num_batches_tracked",)


def layer_rules(ours: str, theirs: str) -> list[Rule]:
    """Weight and bias."""
    return [same(f"{ours}.{p}", f"{theirs}.{p}") for p in PARAMETERS]


def pointwise(weight: Tensor) -> Tensor:
    """A 1 x 1 convolution's weight (out, in, 1, 1) as a linear layer's; biases (out,) stay."""
    return weight.flatten(1) if weight.ndim == 4 else weight


def pointwise_rules(ours: str, theirs: str) -> list[Rule]:
    """A 1 x 1 convolution as a linear layer; a bias where there is one."""
    return [derive(f"{ours}.{p}", f"{theirs}.{p}", pointwise) for p in PARAMETERS]


def conv_rules(ours: str, conv: str, norm: str) -> list[Rule]:
    """A convolution, with a bias or without, and its batch norm with its counter."""
    return [same(f"{ours}.conv.{{p}}", f"{conv}.{{p}}"), same(f"{ours}.norm.{{p}}", f"{norm}.{{p}}")]


def third(number: int) -> Callable[[Tensor], Tensor]:
    """One of three equal parts along the first axis."""
    return lambda fused: fused.chunk(3)[number]


def thirds(ours: str, theirs: str) -> tuple[Rule, ...]:
    """q, k and v of a `GroupAttention` out of a release's one projection, and its output projection."""
    split = [derive(f"{ours}{name}.{{p}}", f"{theirs}qkv.{{p}}", third(i)) for i, name in enumerate("qkv")]
    return (*split, same(f"{ours}out.{{p}}", f"{theirs}proj.{{p}}"))


def frame_rules(ours: str, theirs: str, first: str = "mlp.fc1", second: str = "mlp.fc2") -> tuple[Rule, ...]:
    """All of a `Block` but its mixer: the two norms and the MLP's two layers, which are named as given."""
    return (
        same(f"{ours}mix.norm.{{p}}", f"{theirs}norm1.{{p}}"),
        same(f"{ours}feed.norm.{{p}}", f"{theirs}norm2.{{p}}"),
        same(f"{ours}feed.inner.enter.{{p}}", f"{theirs}{first}.{{p}}"),
        same(f"{ours}feed.inner.leave.{{p}}", f"{theirs}{second}.{{p}}"),
    )


def below(ours: str, theirs: str, rules: Iterable[Rule]) -> list[Rule]:
    """Rules of a part, under prefixes."""
    return [
        replace(rule, target=ours + rule.target, sources=tuple(theirs + source for source in rule.sources))
        for rule in rules
    ]
