"""InterFormer (Huang et al. 2023, "InterFormer: real-time interactive image segmentation", ICCV, arXiv 2304.02942): one
object of an image, shown by clicks. The encoder runs once an image, the neck and the head once a click.

    features = encoder(image);   logits = head(neck(features, labels))

Labels of pixels are those of `apps.vision.segmentation.clicks`; a session over them is `clicks.InteractiveSession`.

Shapes: image (B, 3, H, W), labels (B, H, W) of 0 to 4 -> logits (B, 2, H, W), background and object; any H and W. Both
are filled up at the end of an axis to a multiple of 32 pixels, the image with zeros, the labels with "unknown".
"""

__all__ = ["InterFormer", "interformer_light", "interformer_tiny"]

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from apps.vision.segmentation.models.fcn import FCNHead
from apps.vision.segmentation.models.interformer_mae import MAEPyramid
from apps.vision.segmentation.models.interformer_neck import ClickNeck
from apps.vision.segmentation.models.layers import resize
from apps.vision.segmentation.models.segmenter import Logits
from apps.vision.segmentation.models.upernet import UPerHead

UNKNOWN = 2


class InterFormer(nn.Module):
    """The whole network.

    Args:
        backbone: makes the feature maps (B, h, w, C) of strides 4, 8, 16, 32; any with `channels` and `strides`.
        neck: puts the clicks in.
        dim: width of the heads.
        dropout: of whole channels before their last layers.

    Raises:
        ValueError: for a backbone of other strides.
    """

    def __init__(self, backbone: nn.Module, neck: ClickNeck, dim: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        strides: list[int] = list(backbone.strides)  # type: ignore[arg-type]
        if strides != [4, 8, 16, 32]:
            raise ValueError(f"InterFormer: a backbone of strides {strides}; give one of 4, 8, 16 and 32")
        channels: list[int] = list(backbone.channels)  # type: ignore[arg-type]
        self.backbone, self.neck, self.stride = backbone, neck, strides[-1]
        self.head = UPerHead(channels, 2, dim, dropout=dropout)
        self.helper = FCNHead(channels, 2, dim, 1, 2, dropout)

    def forward(self, x: Tensor, labels: Tensor, boxes: Tensor | None = None) -> Logits:
        """Logits (B, 2, H, W) of an image and its labels; in training the helper's too.

        Args:
            x: (B, 3, H, W).
            labels: (B, H, W), whole numbers from 0 to 4.
            boxes: see `decode`.
        """
        return self.decode(self.features(x), labels, boxes)

    def features(self, x: Tensor) -> list[Tensor]:
        """What does not depend on clicks: (B, h, w, C), fine to coarse."""
        return self.backbone(self._filled(x, 0.0))

    def decode(self, features: Sequence[Tensor], labels: Tensor, boxes: Tensor | None = None) -> Logits:
        """What depends on clicks.

        Args:
            features: of the image, as from `features`.
            labels: (B, H, W), the size of the image.
            boxes: (B, 4) left, top, right, bottom in pixels, multiples of 32: what is refined; all of it if None.

        Raises:
            ValueError: for labels that are not of the image's size.
        """
        size = (labels.shape[1], labels.shape[2])
        filled = self._filled(labels, UNKNOWN)
        fine = features[0]
        if filled.shape != (len(fine), 4 * fine.shape[1], 4 * fine.shape[2]):
            raise ValueError(
                f"InterFormer: labels {tuple(labels.shape)} for {len(fine)} images of about {4 * fine.shape[1]} x "
                f"{4 * fine.shape[2]} pixels; give a label for each pixel"
            )
        maps = self.neck(features, filled, boxes)

        def cut(y: Tensor) -> Tensor:
            return resize(y, (filled.shape[1], filled.shape[2]))[..., : size[0], : size[1]]

        others = (cut(self.helper(maps)),) if self.training else ()
        return Logits(cut(self.head(maps)), others)

    def _filled(self, x: Tensor, value: float) -> Tensor:
        height, width = (-n % self.stride for n in x.shape[-2:])
        return F.pad(x, (0, width, 0, height), value=value) if height or width else x


def interformer_light(drop_path: float = 0.1) -> InterFormer:
    """Encoder of the base size; 512 x 512 pixels."""
    channels = (32, 64, 128, 256)
    return InterFormer(MAEPyramid(768, 12, 12, channels, drop_path=drop_path), ClickNeck(channels, drop_path=drop_path))


def interformer_tiny(drop_path: float = 0.1) -> InterFormer:
    """Encoder of the large size and a neck with refinement, which is what the authors call tiny; 512 x 512 pixels."""
    channels = (32, 64, 128, 256)
    neck = ClickNeck(channels, depths=(2, 2, 6, 3), refine_start=(1, 1, 2, 1), drop_path=drop_path)
    return InterFormer(MAEPyramid(1024, 24, 16, channels, drop_path=drop_path), neck)
