"""Segmentation systems, one publication a file."""

from apps.vision.segmentation.models.fcn import FCNHead
from apps.vision.segmentation.models.isomer import Isomer
from apps.vision.segmentation.models.p2at import P2AT, p2at_large, p2at_medium, p2at_small
from apps.vision.segmentation.models.segformer import ActivatedSegFormerHead, SegFormerHead
from apps.vision.segmentation.models.segmenter import EncoderDecoder, Logits, Segmenter
from apps.vision.segmentation.models.self_guided import SelfGuided
from apps.vision.segmentation.models.semantic_fpn import FPN, SemanticFPNHead
from apps.vision.segmentation.models.transkd import MatchEA, MatchGL, MatchLinear, TransKD
from apps.vision.segmentation.models.upernet import UPerHead

__all__ = [
    "FPN",
    "P2AT",
    "ActivatedSegFormerHead",
    "EncoderDecoder",
    "FCNHead",
    "Isomer",
    "Logits",
    "MatchEA",
    "MatchGL",
    "MatchLinear",
    "SegFormerHead",
    "Segmenter",
    "SelfGuided",
    "SemanticFPNHead",
    "TransKD",
    "UPerHead",
    "p2at_large",
    "p2at_medium",
    "p2at_small",
]
