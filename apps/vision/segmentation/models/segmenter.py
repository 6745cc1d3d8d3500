"""What the task asks of a network, and the common form: a backbone, a head, and a second head that helps to learn."""

__all__ = ["EncoderDecoder", "Head", "Instances", "Logits", "Panoptic", "PanopticSegmenter", "Segmenter"]

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from apps.vision.segmentation.models.layers import resize


class Logits(NamedTuple):
    """Scores of classes.

    Attributes:
        main: (B, classes, H, W), at the size of the image.
        others: of helping heads, in training alone; at the size of the image, too.
    """

    main: Tensor
    others: tuple[Tensor, ...] = ()


class Segmenter(nn.Module):
    """Base class: `forward(x (B, 3, H, W)) -> Logits`, any H and W."""

    def forward(self, x: Tensor) -> Logits:
        raise TypeError(f"{type(self).__name__} must define forward")


class Panoptic(NamedTuple):
    """Segments of one image.

    Attributes:
        segments: (H, W) int64, places in `kinds`; -1 where nothing is found.
        kinds: (M,) int64, classes.
        scores: (M,).
    """

    segments: Tensor
    kinds: Tensor
    scores: Tensor


class Instances(NamedTuple):
    """Objects of one image, which may overlap.

    Attributes:
        masks: (M, H, W) bool.
        kinds: (M,) int64 classes.
        scores: (M,), for average precision.
    """

    masks: Tensor
    kinds: Tensor
    scores: Tensor


class PanopticSegmenter(Segmenter):
    """Base class of networks that tell objects apart.

    `forward` gives something that has, evaluated, the scores of classes (B, classes, H, W) as `main`.

    Attributes:
        things: classes whose objects are told apart; set by the task from its data.
    """

    things: tuple[int, ...] = ()

    def panoptic(self, made: Any) -> list[Panoptic]:
        """Segments of each image, from what `forward` gave."""
        raise TypeError(f"{type(self).__name__} must define panoptic")

    def instances(self, made: Any, top: int = 100) -> list[Instances]:
        """The `top` objects of each image with the highest scores, which may overlap."""
        raise TypeError(f"{type(self).__name__} must define instances")


Head = Callable[[Sequence[int], int], nn.Module]


class EncoderDecoder(Segmenter):
    """A backbone and a head.

    Args:
        classes: numbers that are predicted for a pixel.
        backbone: makes the feature maps; any with `channels`.
        head: made from (widths of the maps, classes); maps them, fine to coarse, to (B, classes, h, w).
        helper: a second head of the same kind, for training.
    """

    def __init__(self, classes: int, backbone: nn.Module, head: Head, helper: Head | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        channels: list[int] = list(backbone.channels)  # type: ignore[arg-type]
        self.head = head(channels, classes)
        self.helper = None if helper is None else helper(channels, classes)

    def forward(self, x: Tensor) -> Logits:
        """(B, 3, H, W) -> logits at the size of the image."""
        size = (x.shape[-2], x.shape[-1])
        features = self.backbone(x)
        others = ()
        if self.helper is not None and self.training:
            others = (resize(self.helper(features), size),)
        return Logits(resize(self.head(features), size), others)
