"""RMT under its official constructor arguments."""

__all__ = ["RMT_TABLE"]

from torch import nn

from apps.vision.backbones.goldens_common import Whole, call_whole, released
from apps.vision.backbones.names_rmt import manhattan_rules, rmt_release
from apps.vision.backbones.rmt import RMT
from core.checkpoint import Mapping
from core.mixers import ManhattanAttention
from core.verify import Facts, Golden


def _network(facts: Facts) -> Whole:
    scale = facts.get("layer_init_values", 1e-6)
    backbone = RMT(
        facts.get("depths", (2, 2, 6, 2)),
        facts.get("embed_dims", (96, 192, 384, 768)),
        facts.get("num_heads", (3, 6, 12, 24)),
        spreads=facts.get("heads_ranges", (3, 3, 3, 3)),
        starts=facts.get("init_values", (1, 1, 1, 1)),
        mlp_ratios=facts.get("mlp_ratios", (3, 3, 3, 3)),
        decomposed=facts.get("chunkwise_recurrents", (True, True, False, False)),
        layer_scales=[scale if wanted else None for wanted in facts.get("layerscales", (False,) * 4)],
        projection=facts.get("projection", 1024),
        channels=facts.get("in_chans", 3),
    )
    return Whole(backbone, facts.get("num_classes", 1000))


def _mixer(facts: Facts) -> nn.Module:
    return ManhattanAttention(
        facts.config["embed_dim"],
        facts.config["num_heads"],
        start=facts.config["init_value"],
        spread=facts.config["heads_range"],
        decomposed=facts.get("chunk", facts.cls == "VisionRetentionChunk"),
    )


_MIXER = Golden(_mixer, Mapping(*manhattan_rules("", "retention.")))
RMT_TABLE = {
    "VisRetNet": Golden(_network, released(_network, rmt_release), call_whole(lambda x: x)),
    "VisionRetentionAll": _MIXER,
    "VisionRetentionChunk": _MIXER,
}
