"""NAT and DiNAT under their official constructor arguments."""

__all__ = ["DINAT"]

from torch import nn

from apps.vision.backbones.goldens_common import Whole, call_whole, released
from apps.vision.backbones.names_nat import nat_release, neighbourhood_rules
from apps.vision.backbones.nat import NAT
from apps.vision.golden_calls import pair
from core.checkpoint import Mapping
from core.mixers import NeighbourhoodAttention
from core.verify import Facts, Golden


def _network(facts: Facts) -> Whole:
    config = facts.config
    backbone = NAT(
        config["embed_dim"],
        config["depths"],
        config["num_heads"],
        kernel=facts.get("kernel_size", 7),
        dilations=facts.get("dilations", None),
        mlp_ratio=config["mlp_ratio"],
        bias=facts.get("qkv_bias", True),
        score_scale=facts.get("qk_scale", None),
        layer_scale=facts.get("layer_scale", None),
        channels=facts.get("in_chans", 3),
        official=True,
    )
    return Whole(backbone, facts.get("num_classes", 1000))


def _mixer(facts: Facts) -> nn.Module:
    return NeighbourhoodAttention(
        facts.config["dim"],
        facts.config["num_heads"],
        pair(facts.get("kernel_size", 7)),
        pair(facts.get("dilation", None) or 1),
        bias=facts.get("qkv_bias", True),
        scale=facts.get("qk_scale", None),
        official=True,
    )


_WHOLE = Golden(_network, released(_network, nat_release), call_whole(lambda x: x))
DINAT = {
    "NAT": _WHOLE,
    "DiNAT": _WHOLE,
    "NeighborhoodAttention2D": Golden(_mixer, Mapping(*neighbourhood_rules("", ""))),
}
