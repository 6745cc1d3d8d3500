"""Weights of the releases into the systems: `load_release(p2at_small(19), "P2AT_S.pt")`.

Where no release of the whole system is known its backbone is filled: from the release of the backbone, as ImageNet's
weights are, or from a checkpoint of `omnimix segmentation fit`.  What does not fit is said in one sentence.
"""

__all__ = ["load_release"]

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from apps.vision.backbones.base import Backbone
from apps.vision.backbones.checkpoints import load_backbone
from apps.vision.backbones.mit import MiT
from apps.vision.rules import COUNTERS
from apps.vision.segmentation.models.dformer import DFormer
from apps.vision.segmentation.models.interformer import InterFormer
from apps.vision.segmentation.models.kmax import KMaX
from apps.vision.segmentation.models.names_dformer import dformer_official
from apps.vision.segmentation.models.names_interformer import interformer_official
from apps.vision.segmentation.models.names_kmax import kmax_mapping
from apps.vision.segmentation.models.names_p2at import p2at_mapping
from apps.vision.segmentation.models.names_transkd import segformer_rules, transkd_rules
from apps.vision.segmentation.models.p2at import P2AT
from apps.vision.segmentation.models.segformer import SegFormerHead
from apps.vision.segmentation.models.segmenter import EncoderDecoder
from apps.vision.segmentation.models.transkd import TransKD
from core.checkpoint import Mapping, load, read
from core.errors import UserError

SEGFORMER = "decode_head.linear_pred.weight"

# The official names of a system as it was built, by its class.
MAPPINGS: dict[type[nn.Module], Callable[[Any], Mapping]] = {
    P2AT: lambda network: p2at_mapping(len(network.helpers) > 0),
    KMaX: kmax_mapping,
    DFormer: lambda network: dformer_official(len(network.down)),
    InterFormer: interformer_official,
    TransKD: lambda network: _transkd(network),
}


def load_release(network: nn.Module, path: str | Path) -> None:
    """Fills a system, or its backbone, in place.

    Args:
        network: a system.
        path: a release's file, read without executing what may be pickled in it.

    Raises:
        UserError: no such file, no checkpoint, of another size or architecture.
    """
    path = Path(path)
    official = read(path)
    name = f"checkpoint {path.name}"
    if type(network) in MAPPINGS and not _of_backbone(network, official):
        load(network, official, MAPPINGS[type(network)](network), name)
        return
    if isinstance(network, EncoderDecoder) and isinstance(network.backbone, MiT) and SEGFORMER in official:
        if not isinstance(network.head, SegFormerHead):
            raise UserError(f"{name}: has SegFormer's head, the network {type(network.head).__name__}; use the former.")
        bare = {key.removeprefix("backbone.").removeprefix("decode_head."): value for key, value in official.items()}
        # The framework's own classifier, which the release leaves unused.
        load(network, bare, Mapping(*segformer_rules(network.backbone), ignore=(*COUNTERS, "conv_seg.{p}")), name)
        return
    backbone = getattr(network, "backbone", None)
    if not isinstance(backbone, Backbone):
        raise UserError(f"{type(network).__name__}: no release of it is known, and it has no backbone to fill.")
    load_backbone(backbone, path)


def _transkd(network: TransKD) -> Mapping:
    official = network.fusions[0].official
    # The layer that the release takes for one image alone.
    spare = () if official else ("skfs.{n}.fc1.{rest*}",)
    return Mapping(*transkd_rules(network, bool(official)), ignore=(*COUNTERS, *spare))


def _of_backbone(network: nn.Module, official: dict[str, Any]) -> bool:
    """Whether the file holds what belongs into kMaX's backbone alone."""
    return isinstance(network, KMaX) and not any(key.startswith("sem_seg_head.") for key in official)
