"""The MetaFormer baselines under their official constructor arguments; pooling and attention stand in the core."""

__all__ = ["METAFORMER"]

from functools import partial

from torch import nn

from apps.vision.backbones.goldens_common import Whole, call_whole, released
from apps.vision.backbones.metaformer import MetaFormer, MLPHead, attention, linear_head, star_mlp, token_norm
from apps.vision.backbones.names_metaformer import metaformer_release, sep_conv_rules
from core.checkpoint import Mapping
from core.mixers import Pooling, SepConv
from core.norms import MapNorm
from core.verify import Facts, Golden

MIXERS = {"Pooling": Pooling, "SepConv": SepConv, "Attention": attention}


def _network(facts: Facts) -> Whole:
    dims = facts.get("dims", (64, 128, 320, 512))
    names = facts.config["token_mixers"]
    names = [names] * len(dims) if isinstance(names, str) else names
    over_map = "1,2,3" in str(facts.get("norm_layers", "")).replace(" ", "")
    backbone = MetaFormer(
        facts.get("depths", (2, 2, 6, 2)),
        dims,
        [MIXERS[name] for name in names],
        norm=partial(MapNorm, eps=1e-6, bias=False) if over_map else token_norm,
        down_norm=token_norm,
        mlp=star_mlp,
        make_head=MLPHead if facts.get("head_fn", None) == "MlpHead" else linear_head,
        layer_scale=facts.get("layer_scale_init_values", None),
        residual_scales=[bool(s) for s in facts.get("res_scale_init_values", (None, None, 1.0, 1.0))],
        channels=facts.get("in_chans", 3),
        official=True,
    )
    return Whole(backbone, facts.get("num_classes", 1000))


def _separable(facts: Facts) -> nn.Module:
    size = facts.get("kernel_size", 7)
    dim = facts.config["dim"]
    return SepConv(dim, int(facts.get("expansion_ratio", 2) * dim), kernel=(size, size))


METAFORMER = {
    "MetaFormer": Golden(_network, released(_network, metaformer_release), call_whole(lambda x: x)),
    "SepConv": Golden(_separable, Mapping(*sep_conv_rules("", ""))),
}
