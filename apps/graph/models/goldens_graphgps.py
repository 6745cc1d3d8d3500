"""GraphGPS: how its release's layers are built, filled and called here."""

__all__ = ["GRAPHGPS"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from apps.graph.models.convolutions import GCNConv
from apps.graph.models.graphgps import EdgeGATConv, GatedGCN, GINConv, GINEConv, GPSLayer, GraphLayerNorm, Residual
from apps.graph.models.names_gnn import convolution_rules
from apps.graph.models.relation import Relation
from core.checkpoint import Mapping, Rule, derive, same
from core.ops.csr import Csr
from core.verify import Facts, Golden

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "elu": nn.ELU, "leaky_relu": nn.LeakyReLU, "tanh": nn.Tanh}
GATES = {"node": "A", "value": "B", "edge": "C", "target": "D", "source": "E"}
NORMS = {"node_norm": "bn_node_x", "edge_norm": "bn_edge_e"}


def _activation(facts: Facts) -> type[nn.Module]:
    name = facts.get("act", "relu")
    if name not in ACTIVATIONS:
        raise ValueError(f"GraphGPS with act {name!r} is not known here; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _gated(facts: Facts) -> nn.Module:
    residual = facts.get("residual", True)
    return GatedGCN(facts.config["in_dim"], facts.get("dropout", 0.0), residual, _activation(facts))


def gate_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """GatedGCNLayer."""
    return [same(f"{ours}{mine}.{{p}}", f"{theirs}{name}.{{p}}") for mine, name in (GATES | NORMS).items()]


def _local(facts: Facts) -> GatedGCN | Residual | None:
    kind, dim, dropout = facts.config["local_gnn_type"], facts.config["dim_h"], facts.get("dropout", 0.0)
    activation = _activation(facts)
    if kind == "None":
        return None
    if kind == "CustomGatedGCN":
        return GatedGCN(dim, dropout, True, activation)
    if kind == "GCN":
        return Residual(GCNConv(dim, dim), False, dropout)
    if kind == "GIN":
        return Residual(GINConv(dim, activation), False, dropout)
    if kind == "GINE":
        return Residual(GINEConv(dim, activation), True, dropout)
    if kind == "GAT":
        return Residual(EdgeGATConv(dim, facts.config["num_heads"]), True, dropout)
    raise ValueError(f"GraphGPS with local_gnn_type {kind!r} is not known here; its graph convolution is missing")


def _layer(facts: Facts) -> nn.Module:
    if facts.config["global_model_type"] not in ("None", "Transformer"):
        raise ValueError(f"GraphGPS with global_model_type {facts.config['global_model_type']!r} is not known here")
    norms: list[Callable[[int], nn.Module]] = []
    norms += [GraphLayerNorm] if facts.get("layer_norm", False) else []
    norms += [nn.BatchNorm1d] if facts.get("batch_norm", True) else []
    if len(norms) > 1:
        raise ValueError("GraphGPS with both norms: the release refuses it")
    return GPSLayer(
        facts.config["dim_h"],
        _local(facts),
        facts.config["num_heads"] if facts.config["global_model_type"] == "Transformer" else 0,
        norm=norms[0] if norms else None,
        dropout=facts.get("dropout", 0.0),
        attention_dropout=facts.get("attn_dropout", 0.0),
        activation=_activation(facts),
    )


def _third(number: int) -> Callable[[Tensor], Tensor]:
    return lambda fused: fused.chunk(3)[number]


def layer_rules(ours: str = "", theirs: str = "") -> list[Rule]:
    """GPSLayer."""
    rules = [*gate_rules(f"{ours}local.", f"{theirs}local_model.")]
    rules += convolution_rules(f"{ours}local.inner.", f"{theirs}local_model.")
    rules += [same(f"{ours}local.inner.feed.layers.{{i}}.{{p}}", f"{theirs}local_model.nn.{{i}}.{{p}}")]
    rules += [same(f"{ours}local.inner.edge.{{p}}", f"{theirs}local_model.lin_edge.{{p}}")]
    rules += [derive(f"{ours}local.inner.along", f"{theirs}local_model.att_edge", lambda attention: attention[0])]
    for part in ("weight", "bias"):
        official = f"{theirs}self_attn.in_proj_{part}"
        rules += [derive(f"{ours}attention.{name}.{part}", official, _third(i)) for i, name in enumerate("qkv")]
    names = {"attention.out": "self_attn.out_proj", "local_norm": "norm1_local", "attention_norm": "norm1_attn"}
    names |= {"norm": "norm2", "enter": "ff_linear1", "leave": "ff_linear2"}
    return rules + [same(f"{ours}{mine}.{{p}}", f"{theirs}{name}.{{p}}") for mine, name in names.items()]


def _layer_mapping(facts: Facts) -> Mapping:
    """The release makes norms for the part that is not there, too."""
    unused = ["norm1_local"] if facts.config["local_gnn_type"] == "None" else []
    unused += ["norm1_attn"] if facts.config["global_model_type"] == "None" else []
    rules = [rule for rule in layer_rules() if rule.sources[0].split(".")[0] not in unused]
    return Mapping(*rules, ignore=[f"{name}.{{p}}" for name in unused])


def _relation(inputs: dict[str, Tensor]) -> tuple[Relation, Tensor]:
    csr, order = Csr.of(inputs["edge_index"], len(inputs["x"]))
    return Relation(csr), order


def _named(y: Tensor, edges: Tensor, order: Tensor) -> dict[str, Tensor]:
    """Edges in the order of the file."""
    return {"x": y, "edge_attr": edges.index_select(0, order.argsort())}


def _run_gates(run: Callable[..., Any], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    relation, order = _relation(inputs)
    return _named(*run(inputs["x"], relation, inputs["edge_attr"].index_select(0, order)), order)


def _run_layer(run: Callable[..., Any], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    relation, order = _relation(inputs)
    starts = torch.nn.functional.pad(torch.bincount(inputs["batch"]).cumsum(0), (1, 0))
    return _named(*run(inputs["x"], relation, inputs["edge_attr"].index_select(0, order), starts), order)


GRAPHGPS = {
    "GatedGCNLayer": Golden(_gated, Mapping(*gate_rules()), _run_gates),
    "GPSLayer": Golden(_layer, _layer_mapping, _run_layer),
}
