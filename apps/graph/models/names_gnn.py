"""Names of the releases of tuned graph networks, SGFormer and Polynormer, with PyG's convolutions in them, and ours."""

__all__ = [
    "attention_rules",
    "convolution_rules",
    "global_rules",
    "polynormer_rules",
    "sgformer_rules",
    "tuned_rules",
    "tuned_unused",
]

from collections.abc import Callable

from torch import Tensor

from core.checkpoint import Rule, derive, same


def convolution_rules(ours: str, theirs: str) -> list[Rule]:
    """Any of PyG's GCNConv, SAGEConv and GATConv."""
    return [
        same(f"{ours}weight", f"{theirs}lin.weight"),
        same(f"{ours}bias", f"{theirs}bias"),
        same(f"{ours}neighbours.{{p}}", f"{theirs}lin_l.{{p}}"),
        same(f"{ours}node.{{p}}", f"{theirs}lin_r.{{p}}"),
        derive(f"{ours}source", f"{theirs}att_src", _first),
        derive(f"{ours}target", f"{theirs}att_dst", _first),
    ]


def _first(attention: Tensor) -> Tensor:
    return attention[0]


def tuned_rules(norm: str | None, residual: bool, enter: bool) -> list[Rule]:
    """tunedGNN.

    Args:
        norm: "lns" or "bns", which of the release's norms is used, or None.
        residual: whether `lins` are.
        enter: whether `lin_in` is.
    """
    rules = [*convolution_rules("layers.{i}.convolution.", "local_convs.{i}."), same("out.{p}", "pred_local.{p}")]
    rules += [same("layers.{i}.norm.{p}", f"{norm}.{{i}}.{{p}}")] if norm else []
    rules += [same("layers.{i}.residual.{p}", "lins.{i}.{p}")] if residual else []
    return rules + ([same("enter.{p}", "lin_in.{p}")] if enter else [])


def tuned_unused(norm: str | None, residual: bool, enter: bool) -> list[str]:
    """What the release keeps and its forward never uses."""
    unused = {"lns": norm != "lns", "bns": norm != "bns", "lins": not residual, "pre_lns": True, "h_lins": True}
    return [f"{name}.{{rest*}}" for name, off in unused.items() if off] + ([] if enter else ["lin_in.{p}"])


def attention_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """SGFormer's TransConvLayer."""
    return [same(f"{ours}{name}.{{p}}", f"{theirs}W{name}.{{p}}") for name in "qkv"]


def sgformer_rules(ours: str, theirs: str) -> list[Rule]:
    """One of SGFormer's branches, whichever."""
    return [
        same(f"{ours}enter.{{p}}", f"{theirs}fcs.0.{{p}}"),
        same(f"{ours}norms.{{i}}.{{p}}", f"{theirs}bns.{{i}}.{{p}}"),
        same(f"{ours}layers.{{i}}.{{p}}", f"{theirs}convs.{{i}}.W.{{p}}"),
        *attention_rules(f"{ours}layers.{{i}}.", f"{theirs}convs.{{i}}."),
    ]


def _row(number: int) -> Callable[[Tensor], Tensor]:
    return lambda stacked: stacked[number]


def global_rules(ours: str, theirs: str, depth: int) -> list[Rule]:
    """Polynormer's GlobalAttn."""
    names = {"gates": "h_lins", "q": "q_lins", "k": "k_lins", "v": "v_lins", "norms": "lns"}
    rules = [same(f"{ours}{mine}.{{i}}.{{p}}", f"{theirs}{name}.{{i}}.{{p}}") for mine, name in names.items()]
    rules.append(same(f"{ours}out.{{p}}", f"{theirs}lin_out.{{p}}"))
    return rules + [derive(f"{ours}mixings.{i}.beta", f"{theirs}betas", _row(i)) for i in range(depth)]


def polynormer_rules(local_depth: int, global_depth: int) -> list[Rule]:
    """Polynormer, either form."""
    names = {"gate": "h_lins", "linear": "lins", "norm": "lns", "pre": "pre_lns", "batch": "post_bns"}
    rules = [same(f"layers.{{i}}.{mine}.{{p}}", f"{name}.{{i}}.{{p}}") for mine, name in names.items()]
    rules += convolution_rules("layers.{i}.convolution.", "local_convs.{i}.")
    rules += [derive(f"layers.{i}.mixing.beta", "betas", _row(i)) for i in range(local_depth)]
    rules += [same("norm.{p}", "ln.{p}"), same("local_out.{p}", "pred_local.{p}")]
    rules += [same("global_out.{p}", "pred_global.{p}"), same("enter.{p}", "lin_in.{p}")]
    return rules + global_rules("attention.", "global_attn.", global_depth)
