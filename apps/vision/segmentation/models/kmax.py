"""kMaX-DeepLab (Yu et al. 2022, "k-means Mask Transformer"): semantic, instance and panoptic segmentation from one set
of queries, each a class and a mask, that are learnt as the centres of clusters of pixels.

    features  of any backbone
    maps      pixel decoder, coarse to fine            `kmax_pixel_decoder`
    queries   layers on the three coarsest maps        `kmax_decoder`
    result    classes and masks on the finest map      `kmax_heads`
    segments  `Merge`                                  `apps.vision.segmentation.panoptic`

What `forward` makes is `Found`: in training the queries of all layers and the semantic head's scores, for
`KMaXCriterion`; in evaluation those of the final result, and `main`, the scores of classes at the size of the image,
which are computed when they are asked for. `panoptic(found)` gives segments, `instances(found)` objects.

Published at 641 to 2049 pixels; images (x - 127.5) / 127.5. Any size works, 1 x 1 too. Corners of maps are aligned
where their size is odd, as in the release.

Decided: with a mask of real pixels, padding is given to no query, attended to nowhere and seen by no convolution of the
decoders, and by the backbone's where it takes a mask; `official=True` lets all of it take part as zeros, as the release
does.
"""

__all__ = ["Found", "KMaX", "kmax_small"]

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from apps.vision.backbones.base import Backbone
from apps.vision.backbones.resnet import ResNet
from apps.vision.segmentation.mask_losses import Masks, nearest
from apps.vision.segmentation.models.kmax_decoder import TransformerDecoder
from apps.vision.segmentation.models.kmax_heads import Prediction, SemanticHead
from apps.vision.segmentation.models.kmax_layers import odd, resized
from apps.vision.segmentation.models.kmax_pixel_decoder import PixelDecoder
from apps.vision.segmentation.models.segmenter import Instances, Panoptic, PanopticSegmenter
from apps.vision.segmentation.panoptic import Merge, instances, masks_at, semantic


class Found(NamedTuple):
    """What the network makes of a batch.

    Attributes:
        masks: classes, masks and pixel features of the final result; in training those of earlier layers, resized to
            the same size, and the semantic head's scores, too.
        size: (H, W) of the images.
    """

    masks: Masks
    size: tuple[int, int]

    @property
    def main(self) -> Tensor:
        """(B, K, H, W) scores of classes, each pixel's sum at most 1."""
        return semantic(self.masks.classes, self.at_size())

    def at_size(self) -> Tensor:
        """(B, N, H, W) logits of masks at the size of the images."""
        return masks_at(self.masks.masks, self.size, self.size)


class KMaX(PanopticSegmenter):
    """kMaX-DeepLab over any backbone.

    Args:
        classes: without void.
        backbone: any of `apps.vision.backbones`.
        pixel_decoder: made from the widths of the features, coarse to fine.
        decoder: made from the widths of the pixel decoder's maps and the number of classes.
        semantic: makes a head from the widths of the features and the number of classes, for training; None for none.
        merge: makes segments of queries; thresholds for COCO if not given.
        official: let padding take part.
    """

    def __init__(
        self,
        classes: int,
        backbone: nn.Module,
        pixel_decoder: Callable[[Sequence[int]], PixelDecoder] = PixelDecoder,
        decoder: Callable[[Sequence[int], int], TransformerDecoder] = TransformerDecoder,
        semantic: Callable[[Sequence[int], int], nn.Module] | None = SemanticHead,
        merge: Merge | None = None,
        *,
        official: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        channels: list[int] = list(backbone.channels)  # type: ignore[arg-type]
        strides: list[int] = list(backbone.strides)  # type: ignore[arg-type]
        # Levels of one stride keep their order, as in the release.
        self.order = sorted(range(len(strides)), key=lambda level: -strides[level])
        widths = [channels[level] for level in self.order]
        self.pixel_decoder = pixel_decoder(widths)
        self.decoder = decoder(self.pixel_decoder.widths, classes)
        self.semantic = None if semantic is None else semantic(widths, classes)
        self.merge = merge or Merge()
        self.official = official

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Found:  # type: ignore[override]
        """What is found.

        Args:
            x: (B, 3, H, W).
            mask: (B, H, W) boolean, True = real pixel.
        """
        if mask is not None:
            x = x.masked_fill(~mask[:, None], 0)
        seen = None if self.official else mask
        made = self.backbone(x, mask=seen) if seen is not None and self._masked() else self.backbone(x)
        features = [made[level] for level in self.order]
        real = None
        if seen is not None:
            real = [nearest(seen, (f.shape[1], f.shape[2])) for f in features]
        maps = self.pixel_decoder(features, real)
        *layers, last = self.decoder(maps, real, real)
        found = Masks(*last)
        if self.training:
            others = tuple(_at_size_of(layer, last) for layer in layers)
            scores = None if self.semantic is None else self.semantic(features)
            found = found._replace(semantic=scores, others=others)
        return Found(found, (x.shape[2], x.shape[3]))

    def _masked(self) -> bool:
        return isinstance(self.backbone, Backbone) and all(
            stage.masked()  # type: ignore[operator]
            for stage in self.backbone.stages
        )

    @torch.no_grad()
    def panoptic(self, made: Found) -> list[Panoptic]:
        """Segments of each image."""
        pairs = zip(made.masks.classes.float(), made.at_size().float(), strict=True)
        return [self.merge(classes, masks, self.things) for classes, masks in pairs]

    @torch.no_grad()
    def instances(self, made: Found, top: int = 100) -> list[Instances]:
        """The best `top` pairs of query and class of each image, of things where there are any."""
        pairs = zip(made.masks.classes.float(), made.at_size().float(), strict=True)
        return [instances(classes, masks, top, self.merge.pixel, self.things or None) for classes, masks in pairs]


def _at_size_of(layer: Prediction, last: Prediction) -> Masks:
    """A layer's masks and pixels at the final size; pixels lose their unit length there, as in the release."""
    size = (last.masks.shape[2], last.masks.shape[3])
    masks, pixels = (
        resized(part.movedim(1, -1), size, odd(size[0])).movedim(-1, 1) for part in (layer.masks, layer.pixels)
    )
    return Masks(layer.classes, masks, pixels)


def kmax_small(classes: int, queries: int = 32) -> KMaX:
    """For images of about 48 x 64 and short trainings on a CPU: 1.2 million weights, masks at full size.

    Masks begin 15 times as sharp as published and statistics follow ten times as fast: the published numbers are for
    150 000 steps.

    Args:
        classes: without void.
        queries: number of segments that can be found in an image.
    """
    net = KMaX(
        classes,
        ResNet((1, 1, 2, 2), (24, 48, 72, 96), bottleneck=False, stem_dim=24, stem_stride=1),
        partial(PixelDecoder, depths=(1, 1, 1, 1), dims=(32, 24, 16, 8), heads=4),
        partial(
            TransformerDecoder,
            queries=queries,
            depths=(1, 1, 1),
            dim=96,
            heads=4,
            hidden=192,
            mask_dim=32,
            mask_gain=1.5,
        ),
        partial(SemanticHead, dim=32, rates=(1, 2, 3), low_dims=(16, 16)),
    )
    for part in net.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.momentum = 0.1
    return net
