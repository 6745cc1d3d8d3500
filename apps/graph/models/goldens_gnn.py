"""Tuned graph networks, SGFormer and Polynormer: how their releases' classes are built, filled and called here."""

__all__ = ["POLYNORMER", "SGFORMER", "TUNED", "relation_of"]

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from apps.graph.models.convolutions import Convolution, GATConv, GCNConv, SAGEConv
from apps.graph.models.names_gnn import (
    attention_rules,
    global_rules,
    polynormer_rules,
    sgformer_rules,
    tuned_rules,
    tuned_unused,
)
from apps.graph.models.polynormer import GlobalAttention, LargePolynormer, Polynormer
from apps.graph.models.sgformer import AttentionBranch, GraphBranch, SGFormer, SGFormerAttention
from apps.graph.models.tuned_gnn import TunedGNN
from core.checkpoint import Mapping, Rule, same
from core.ops.csr import Csr
from core.verify import Facts, Golden

CONVOLUTIONS: dict[str, type[Convolution]] = {"gcn": GCNConv, "sage": SAGEConv, "gat": GATConv}


def relation_of(inputs: dict[str, Tensor]) -> Csr:
    """The whole graph of a list of edges."""
    return Csr.of(inputs["edge_index"], len(inputs["x"]))[0]


def _on_graph(run: Callable[..., Any], inputs: dict[str, Tensor]) -> Any:
    return run(inputs["x"], relation_of(inputs))


# tunedgnn


def _tuned_parts(facts: Facts) -> tuple[str | None, bool, bool]:
    norm = "lns" if facts.get("ln", False) else "bns" if facts.get("bn", False) else None
    return norm, facts.get("res", False), facts.get("pre_linear", False)


def _tuned(facts: Facts) -> nn.Module:
    if facts.get("gnn", "gcn") == "gat" and facts.get("heads", 1) != 1:
        raise ValueError("tunedGNN with several heads fails in the release: its layers are one head wide")
    norm, residual, enter = _tuned_parts(facts)
    return TunedGNN(
        facts.config["in_channels"],
        facts.config["out_channels"],
        facts.config["hidden_channels"],
        facts.get("local_layers", 3),
        convolution=CONVOLUTIONS.get(facts.get("gnn", "gcn"), GCNConv),
        norm={"lns": nn.LayerNorm, "bns": nn.BatchNorm1d, None: None}[norm],
        residual=residual,
        sum_layers=facts.get("jk", False),
        enter=enter,
        dropout=facts.get("dropout", 0.5),
    )


TUNED = {
    "MPNNs": Golden(
        _tuned,
        lambda facts: Mapping(*tuned_rules(*_tuned_parts(facts)), ignore=tuned_unused(*_tuned_parts(facts))),
        _on_graph,
    )
}

# sgformer


def _attention(facts: Facts) -> nn.Module:
    value = facts.get("use_weight", True)
    return SGFormerAttention(
        facts.config["in_channels"], facts.config["out_channels"], facts.config["num_heads"], value
    )


def _branch(facts: Facts, prefix: str = "", depth: int = 2) -> AttentionBranch:
    """The release's argument names with a prefix; `alpha` is there in the form for medium graphs alone."""
    medium = "alpha" in facts.config
    return AttentionBranch(
        facts.config["in_channels"],
        facts.config["hidden_channels"],
        facts.get(f"{prefix}num_layers", depth),
        facts.get(f"{prefix}num_heads", 1),
        dropout=facts.get(f"{prefix}dropout", 0.5),
        norm=facts.get(f"{prefix}use_bn", True),
        value=facts.get(f"{prefix}use_weight", True),
        activation=facts.get(f"{prefix}use_act", not medium),
        residual=facts.get("alpha", 0.5) if facts.get(f"{prefix}use_residual", True) else 1,
    )


def _graph(facts: Facts, prefix: str = "", depth: int = 2) -> GraphBranch:
    return GraphBranch(
        facts.config["in_channels"],
        facts.config["hidden_channels"],
        facts.get(f"{prefix}num_layers", depth),
        dropout=facts.get(f"{prefix}dropout", 0.5),
        norm=facts.get(f"{prefix}use_bn", True),
        weight=facts.get(f"{prefix}use_weight", True),
        initial=facts.get(f"{prefix}use_init", False),
        activation=facts.get(f"{prefix}use_act", True),
        residual=facts.get(f"{prefix}use_residual", True),
    )


def _sgformer(facts: Facts) -> nn.Module:
    return SGFormer(
        facts.config["in_channels"],
        facts.config["out_channels"],
        facts.config["hidden_channels"],
        lambda channels, hidden: _branch(facts, "trans_", 1),
        (lambda channels, hidden: _graph(facts, "gnn_", 1)) if facts.get("use_graph", True) else None,
        graph_weight=facts.get("graph_weight", 0.8),
        concatenate=facts.get("aggregate", "add") == "cat",
    )


def _unused(norms: bool, linears: bool, prefix: str = "") -> list[str]:
    """Norms and projections that are made and not used."""
    off = {"bns.{rest*}": not norms, "convs.{i}.W.{p}": not linears}
    return [prefix + pattern for pattern, unused in off.items() if unused]


def _graph_unused(facts: Facts, prefix: str = "", theirs: str = "") -> list[str]:
    used = facts.get(f"{prefix}use_weight", True) or facts.get(f"{prefix}use_init", False)
    return _unused(facts.get(f"{prefix}use_bn", True), used, theirs)


def _branch_mapping(facts: Facts) -> Mapping:
    unused = _unused(facts.get("use_bn", True), True)
    return Mapping(*_used(sgformer_rules("", ""), unused), ignore=unused)


def _graph_mapping(facts: Facts) -> Mapping:
    unused = _graph_unused(facts)
    return Mapping(*_used(sgformer_rules("", ""), unused), ignore=unused)


def _used(rules: list[Rule], unused: list[str]) -> list[Rule]:
    dropped = {pattern.replace("{rest*}", "{i}.{p}") for pattern in unused}
    return [rule for rule in rules if rule.sources[0] not in dropped]


def _sgformer_mapping(facts: Facts) -> Mapping:
    unused = _unused(facts.get("trans_use_bn", True), True, "trans_conv.")
    unused += _graph_unused(facts, "gnn_", "graph_conv.")
    rules = [*sgformer_rules("attention.", "trans_conv."), *sgformer_rules("graph.", "graph_conv.")]
    if not facts.get("use_graph", True):
        unused.append("graph_conv.{rest*}")
        rules = sgformer_rules("attention.", "trans_conv.")
    return Mapping(*_used(rules, unused), same("out.{p}", "fc.{p}"), ignore=unused)


SGFORMER = {
    "TransConvLayer": Golden(_attention, Mapping(*attention_rules())),
    "TransConv": Golden(_branch, _branch_mapping),
    "GraphConv": Golden(_graph, _graph_mapping, _on_graph),
    "SGFormer": Golden(_sgformer, _sgformer_mapping, _on_graph),
}

# polynormer


def _large(facts: Facts) -> bool:
    """Both forms have the same class name; the one for large graphs learns no beta."""
    return "betas" not in facts.weights


def _beta(facts: Facts) -> float | None:
    beta = facts.get("beta", -1)
    return None if beta < 0 else beta


def _global(facts: Facts) -> nn.Module:
    config = facts.config
    return GlobalAttention(
        config["hidden_channels"] * config["heads"],
        config["heads"],
        config["num_layers"],
        beta=_beta(facts),
        learnt=not _large(facts),
        dropout=facts.get("dropout", 0.5),
        shared=facts.get("qk_shared", True),
    )


def _polynormer(facts: Facts) -> nn.Module:
    heads = facts.get("heads", 1)
    sizes = (
        facts.config["in_channels"],
        facts.config["out_channels"],
        facts.config["hidden_channels"] * heads,
        heads,
        facts.get("local_layers", 3),
        facts.get("global_layers", 2),
    )
    dropouts = {
        "in_dropout": facts.get("in_dropout", 0.15),
        "dropout": facts.get("dropout", 0.5),
        "global_dropout": facts.get("global_dropout", 0.5),
    }
    pre_norm = facts.get("pre_ln", False)
    model: Polynormer | LargePolynormer
    if _large(facts):
        attend, batch_norm = facts.get("local_attn", False), facts.get("post_bn", True)
        model = LargePolynormer(
            *sizes,
            beta=facts.get("beta", 0.9),
            attend=attend,
            pre_norm=pre_norm,
            batch_norm=batch_norm,
            **dropouts,
        )
    else:
        model = Polynormer(*sizes, beta=_beta(facts), pre_norm=pre_norm, **dropouts)
    model.stage = int(facts.get("_global", False))
    return model


def _polynormer_mapping(facts: Facts) -> Mapping:
    rules = polynormer_rules(facts.get("local_layers", 3), facts.get("global_layers", 2))
    if not _large(facts):
        return Mapping(*rules)
    return Mapping(*(rule for rule in rules if rule.target != "enter.{p}"), ignore=["lin_in.{p}"])


POLYNORMER = {
    "GlobalAttn": Golden(_global, lambda facts: Mapping(*global_rules("", "", facts.config["num_layers"]))),
    "Polynormer": Golden(_polynormer, _polynormer_mapping, _on_graph),
}
