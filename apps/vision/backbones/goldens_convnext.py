"""ConvNeXt under its official constructor arguments."""

__all__ = ["CONVNEXT"]

from torch import nn

from apps.vision.backbones.convnext import ConvBranch, ConvNeXt
from apps.vision.backbones.goldens_common import Whole, call_whole, released
from apps.vision.backbones.names_convnext import convnext_release
from apps.vision.backbones.parts import no_norm
from apps.vision.golden_calls import call_part, channels_first
from core.blocks import PreNorm
from core.checkpoint import Mapping, same
from core.verify import Facts, Golden


def _scale(facts: Facts) -> float | None:
    value = facts.get("layer_scale_init_value", 1e-6)
    return value if value > 0 else None


def _network(facts: Facts) -> Whole:
    backbone = ConvNeXt(
        facts.get("depths", (3, 3, 9, 3)),
        facts.get("dims", (96, 192, 384, 768)),
        layer_scale=_scale(facts),
        channels=facts.get("in_chans", 3),
        official=True,
    )
    return Whole(backbone, facts.get("num_classes", 1000))


def _block(facts: Facts) -> nn.Module:
    dim = facts.config["dim"]
    return PreNorm(dim, ConvBranch(dim), norm=no_norm, layer_scale=_scale(facts))


CONVNEXT = {
    "ConvNeXt": Golden(_network, released(_network, convnext_release), call_whole(channels_first)),
    "Block": Golden(
        _block,
        Mapping(
            same("inner.conv.{p}", "dwconv.{p}"),
            same("inner.norm.{p}", "norm.{p}"),
            same("inner.mlp.enter.{p}", "pwconv1.{p}"),
            same("inner.mlp.leave.{p}", "pwconv2.{p}"),
            same("scale", "gamma"),
        ),
        call_part,
    ),
}
