"""ScatterFormer's parts under the names and calling conventions of its release, for `omnimix verify`."""

__all__ = ["SCATTERFORMER"]

from typing import Any

import torch
from torch import Tensor, nn

from apps.pointcloud.models.names_openpcdet import REBUILT
from apps.pointcloud.models.names_scatterformer import (
    attention_rules,
    cross_window_rules,
    pool_rules,
    scatterformer_rules,
    stage_rules,
)
from apps.pointcloud.models.scatterformer import EPS, ColumnPool, CrossWindow, ScatterFormer, ScatterFormerStage
from core.checkpoint import Mapping
from core.layout import Ragged
from core.mixers import LinearAttention
from core.sparse import SparseTensor
from core.verify import Facts, Golden


class _AtSites(nn.Module):
    """A part at sites whose rows come, and go back, in any order."""

    def __init__(self, part: nn.Module, facts: Facts) -> None:
        super().__init__()
        self.part, self.facts = part, facts

    def forward(self, x: Tensor, coords: Tensor) -> Tensor | dict[str, Tensor]:
        config = self.facts.config
        grid = config.get("spatial_shape") or config["grid_size"][::-1]
        given = SparseTensor.of(x, coords, grid, config["batch_size"])
        y = self.part(given)
        if y.sites is given.sites:
            return y.sites.restore(y.features)
        b, rows, columns = y.coords.unbind(1)
        return {"features": y.features, "coords": torch.stack([b, torch.zeros_like(b), rows, columns], 1)}


def call_windows(run: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Rows sorted by window, with each one's window."""
    counts = inputs["window"].long().bincount()
    return run(Ragged(inputs["x"], torch.cat([counts.new_zeros(1), counts.cumsum(0)]))).tokens


def _attention(facts: Facts) -> LinearAttention:
    dim, heads = facts.config["dim"], facts.config["num_heads"]
    eps = EPS * (dim // heads) ** -0.5
    return LinearAttention(dim, heads, feature=torch.relu, bias=facts.get("qkv_bias", False), eps=eps)


def _stage(facts: Facts) -> ScatterFormerStage:
    config = facts.config
    return ScatterFormerStage(config["embed_dim"], config["nhead"], config["num_layers"], config["win_size"])


def _backbone(facts: Facts) -> ScatterFormer:
    config = facts.config
    height = config["grid_size"][2]
    return ScatterFormer(config["input_channels"], height, config["FEATURE_DIM"], window=config["WIN_SIZE"])


def _mapping(rules) -> Mapping:
    return Mapping(*rules("part.", ""), ignore=REBUILT)


SCATTERFORMER = {
    "SLALayer": Golden(_attention, Mapping(*attention_rules("", "")), call_windows),
    "CWI_FFN_Layer": Golden(
        lambda facts: _AtSites(CrossWindow(facts.config["embed_dim"], facts.config["conv_size"]), facts),
        _mapping(cross_window_rules),
    ),
    "ScatterFormerLayer3x": Golden(lambda facts: _AtSites(_stage(facts), facts), _mapping(stage_rules)),
    "AttnPillarPool": Golden(
        lambda facts: _AtSites(ColumnPool(facts.config["dim"], facts.config["pillar_size"]), facts),
        _mapping(pool_rules),
    ),
    "ScatterFormer": Golden(lambda facts: _AtSites(_backbone(facts), facts), _mapping(scatterformer_rules)),
}
