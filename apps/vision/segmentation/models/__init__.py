"""Segmentation systems, one publication a file."""

from apps.vision.segmentation.models.dformer import DFormer
from apps.vision.segmentation.models.fcn import FCNHead
from apps.vision.segmentation.models.interformer import InterFormer, interformer_light, interformer_tiny
from apps.vision.segmentation.models.isomer import Isomer
from apps.vision.segmentation.models.kmax import KMaX, kmax_small
from apps.vision.segmentation.models.kmax_variants import (
    kmax_convnext_base_coco,
    kmax_convnext_large_ade20k,
    kmax_convnext_large_cityscapes,
    kmax_convnext_large_coco,
    kmax_convnext_small_coco,
    kmax_convnext_tiny_coco,
    kmax_r50_ade20k,
    kmax_r50_cityscapes,
    kmax_r50_coco,
)
from apps.vision.segmentation.models.p2at import P2AT, p2at_large, p2at_medium, p2at_small
from apps.vision.segmentation.models.segformer import ActivatedSegFormerHead, SegFormerHead
from apps.vision.segmentation.models.segmenter import (
    EncoderDecoder,
    Instances,
    Logits,
    Panoptic,
    PanopticSegmenter,
    Segmenter,
)
from apps.vision.segmentation.models.self_guided import SelfGuided
from apps.vision.segmentation.models.semantic_fpn import FPN, SemanticFPNHead
from apps.vision.segmentation.models.transkd import MatchEA, MatchGL, MatchLinear, TransKD
from apps.vision.segmentation.models.unet import UNet
from apps.vision.segmentation.models.upernet import UPerHead

__all__ = [
    "FPN",
    "P2AT",
    "ActivatedSegFormerHead",
    "DFormer",
    "EncoderDecoder",
    "FCNHead",
    "Instances",
    "InterFormer",
    "Isomer",
    "KMaX",
    "Logits",
    "MatchEA",
    "MatchGL",
    "MatchLinear",
    "Panoptic",
    "PanopticSegmenter",
    "SegFormerHead",
    "Segmenter",
    "SelfGuided",
    "SemanticFPNHead",
    "TransKD",
    "UNet",
    "UPerHead",
    "interformer_light",
    "interformer_tiny",
    "kmax_convnext_base_coco",
    "kmax_convnext_large_ade20k",
    "kmax_convnext_large_cityscapes",
    "kmax_convnext_large_coco",
    "kmax_convnext_small_coco",
    "kmax_convnext_tiny_coco",
    "kmax_r50_ade20k",
    "kmax_r50_cityscapes",
    "kmax_r50_coco",
    "kmax_small",
    "p2at_large",
    "p2at_medium",
    "p2at_small",
]
