"""HorNet under its official constructor arguments; a whole model's file names the arguments of each stage's gates."""

__all__ = ["HORNET"]

from functools import partial
from typing import Any

from torch import nn

from apps.vision.backbones.goldens_common import Whole, call_whole, released
from apps.vision.backbones.hornet import HorNet
from apps.vision.backbones.names_hornet import gated_conv_rules, hornet_release
from apps.vision.golden_calls import call_part, channels_first
from core.checkpoint import Mapping
from core.mixers import GlobalLocalFilter, RecursiveGatedConv
from core.verify import Facts, Golden


def _each(value: Any, count: int) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value] * count


def _network(facts: Facts) -> Whole:
    layer_scale = facts.get("layer_scale_init_value", 1e-6)
    filters = _each(facts.get("gflayer", facts.get("gflayers", None)), 4)
    sizes = zip(_each(facts.get("h", 14), 4), _each(facts.get("w", 8), 4), strict=True)
    backbone = HorNet(
        facts.get("base_dim", 96),
        facts.get("depths", (3, 3, 9, 3)),
        orders=_each(facts.get("orders", 5), 4),
        spectra=[size if wanted else None for wanted, size in zip(filters, sizes, strict=True)],
        scale=facts.get("s", 1.0),
        layer_scale=layer_scale if layer_scale > 0 else None,
        channels=facts.get("in_chans", 3),
        official=True,
    )
    return Whole(backbone, facts.get("num_classes", 1000))


def _mixer(facts: Facts) -> nn.Module:
    mixer = partial(RecursiveGatedConv, facts.config["dim"], facts.get("order", 5), scale=facts.get("s", 1.0))
    if not facts.get("gflayer", None):
        return mixer()
    size = (facts.get("h", 14), facts.get("w", 8))
    return mixer(make_conv=partial(GlobalLocalFilter, spectrum=size))


HORNET = {
    "HorNet": Golden(_network, released(_network, hornet_release), call_whole(channels_first)),
    "gnconv": Golden(_mixer, Mapping(*gated_conv_rules("", "")), call_part),
}
