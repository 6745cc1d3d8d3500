"""Weights of the releases into the networks here.

    load_release(model, "polynormer.pt")

Files are read without executing what may be pickled in them; what does not fit is said in one sentence.  What a release
keeps and never uses is left.
"""

__all__ = ["load_release", "mapping_of"]

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from apps.graph.models.largegt import LargeGT
from apps.graph.models.names_gnn import polynormer_rules, sgformer_rules, tuned_rules, tuned_unused
from apps.graph.models.names_largegt import UNUSED, model_rules
from apps.graph.models.polynormer import LargePolynormer, Polynormer
from apps.graph.models.sgformer import SGFormer
from apps.graph.models.tuned_gnn import TunedGNN
from core.checkpoint import Mapping, load, read, same
from core.errors import UserError


def _tuned(model: TunedGNN) -> Mapping:
    layer: Any = model.layers[0]
    norm = {nn.LayerNorm: "lns", nn.BatchNorm1d: "bns"}.get(type(layer.norm))
    used = norm, layer.residual is not None, model.enter is not None
    return Mapping(*tuned_rules(*used), ignore=tuned_unused(*used))


def _sgformer(model: SGFormer) -> Mapping:
    rules = [*sgformer_rules("attention.", "trans_conv."), same("out.{p}", "fc.{p}")]
    if model.graph is None:
        return Mapping(*rules, ignore=["graph_conv.{rest*}"])
    return Mapping(*rules, *sgformer_rules("graph.", "graph_conv."))


def _polynormer(model: Polynormer | LargePolynormer) -> Mapping:
    rules = polynormer_rules(len(model.layers), len(model.attention.gates))
    if isinstance(model, Polynormer):
        return Mapping(*rules)
    return Mapping(*(rule for rule in rules if rule.target != "enter.{p}"), ignore=["lin_in.{p}"])


def _largegt(model: LargeGT) -> Mapping:
    local = model.layer.local is not None
    unused = UNUSED if local else [*UNUSED, "convs.0.local_module.{x*}", "fc_in_seq.{i}.{p}"]
    return Mapping(*model_rules(not isinstance(model.enter[1], nn.Identity), local), ignore=unused)


_MAPPINGS: dict[type, Callable[[Any], Mapping]] = {
    TunedGNN: _tuned,
    SGFormer: _sgformer,
    Polynormer: _polynormer,
    LargePolynormer: _polynormer,
    LargeGT: _largegt,
}


def mapping_of(model: nn.Module) -> Mapping:
    """From the release's names of a network to ours.

    Raises:
        UserError: a class without a release.
    """
    if type(model) not in _MAPPINGS:
        known = ", ".join(sorted(cls.__name__ for cls in _MAPPINGS))
        raise UserError(f"{type(model).__name__}: no release of it is known; weights can be loaded into {known}.")
    return _MAPPINGS[type(model)](model)


def load_release(model: nn.Module, path: str | Path) -> None:
    """Fills a network in place from a release's file.

    LargeGT's needs `official_nodes`, as its codebook counts nodes of one graph.

    Raises:
        UserError: unreadable, or of another size or class.
    """
    mapping = mapping_of(model)
    load(model, read(path), mapping, f"checkpoint {Path(path).name}")
