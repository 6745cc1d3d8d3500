"""The published networks of kMaX-DeepLab's PyTorch release; PQ on the validation sets at a single scale."""

__all__ = [
    "kmax_convnext_base_coco",
    "kmax_convnext_large_ade20k",
    "kmax_convnext_large_cityscapes",
    "kmax_convnext_large_coco",
    "kmax_convnext_small_coco",
    "kmax_convnext_tiny_coco",
    "kmax_r50_ade20k",
    "kmax_r50_cityscapes",
    "kmax_r50_coco",
]

from functools import partial

from apps.vision.backbones.base import Backbone
from apps.vision.backbones.resnet import resnet50
from apps.vision.segmentation.models.kmax import KMaX
from apps.vision.segmentation.models.kmax_convnext import KMaXConvNeXt
from apps.vision.segmentation.models.kmax_decoder import TransformerDecoder
from apps.vision.segmentation.models.kmax_heads import PlainSemanticHead
from apps.vision.segmentation.models.kmax_pixel_decoder import PixelDecoder
from apps.vision.segmentation.panoptic import Merge

LARGE = ((3, 3, 27, 3), (192, 384, 768, 1536))


def _coco(classes: int, backbone: Backbone, official: bool) -> KMaX:
    return KMaX(classes, backbone, decoder=partial(TransformerDecoder, drop_path=0.2), official=official)


def _cityscapes(classes: int, backbone: Backbone, official: bool) -> KMaX:
    return KMaX(
        classes,
        backbone,
        partial(PixelDecoder, depths=(1, 5, 1, 1, 1), dims=(512, 256, 128, 64, 32)),
        partial(TransformerDecoder, queries=256, drop_path=0.2),
        PlainSemanticHead,
        Merge(thing=0.5, stuff=0.3, overlap=0.9, mask_power=0.0),
        official=official,
    )


def _ade20k(classes: int, backbone: Backbone, official: bool) -> KMaX:
    return KMaX(classes, backbone, merge=Merge(thing=0.4, stuff=0.4), official=official)


def kmax_r50_coco(classes: int = 133, *, official: bool = False) -> KMaX:
    """53.3 PQ of COCO at 1281."""
    return _coco(classes, resnet50(eps=1e-3, momentum=0.01), official)


def kmax_convnext_tiny_coco(classes: int = 133, *, official: bool = False) -> KMaX:
    """55.5."""
    return _coco(classes, KMaXConvNeXt(drop_path=0.3), official)


def kmax_convnext_small_coco(classes: int = 133, *, official: bool = False) -> KMaX:
    """56.7."""
    return _coco(classes, KMaXConvNeXt((3, 3, 27, 3), drop_path=0.4), official)


def kmax_convnext_base_coco(classes: int = 133, *, official: bool = False) -> KMaX:
    """57.2."""
    return _coco(classes, KMaXConvNeXt((3, 3, 27, 3), (128, 256, 512, 1024), drop_path=0.5), official)


def kmax_convnext_large_coco(classes: int = 133, *, official: bool = False) -> KMaX:
    """57.9."""
    return _coco(classes, KMaXConvNeXt(*LARGE, drop_path=0.6), official)


def kmax_r50_cityscapes(classes: int = 19, *, official: bool = False) -> KMaX:
    """63.5 PQ of Cityscapes at 1025 x 2049."""
    return _cityscapes(classes, resnet50(stem=True, eps=1e-3, momentum=0.01), official)


def kmax_convnext_large_cityscapes(classes: int = 19, *, official: bool = False) -> KMaX:
    """68.4."""
    return _cityscapes(classes, KMaXConvNeXt(*LARGE, drop_path=0.6, stem=True), official)


def kmax_r50_ade20k(classes: int = 150, *, official: bool = False) -> KMaX:
    """42.2 PQ of ADE20K at 1281."""
    return _ade20k(classes, resnet50(eps=1e-3, momentum=0.01), official)


def kmax_convnext_large_ade20k(classes: int = 150, *, official: bool = False) -> KMaX:
    """50.0."""
    return _ade20k(classes, KMaXConvNeXt(*LARGE, drop_path=0.7), official)
