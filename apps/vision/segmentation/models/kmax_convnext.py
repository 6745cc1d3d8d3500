"""ConvNeXt as kMaX-DeepLab has it: made for images of 2^n + 1 pixels.

Patches of the stem begin one pixel outside of the image, so that their centres stand near every fourth pixel from the
first; later levels get a row and a column of zeros at the far sides in front of their norm, which makes its bias of
them. For Cityscapes the stem's result is handed out, too, as a second level of stride 4.
"""

__all__ = ["KMaXConvNeXt"]

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from apps.vision.backbones.convnext import ConvNeXt
from apps.vision.backbones.parts import Down


class _PaddedDown(Down):
    """Zeros around the map in front of the norm; it takes no mask, since they would have to be real."""

    def __init__(self, down: Down, before: int, after: int) -> None:
        super().__init__(down.embed, down.norm, floor=down.floor)
        self.before, self.after = before, after

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """x (B, H, W, C)."""
        around = (0, 0, self.before, self.after, self.before, self.after)
        return super().forward(F.pad(x, around)).tokens


class KMaXConvNeXt(ConvNeXt):
    """ConvNeXt's pyramid on maps whose corners are aligned.

    Args:
        depths: blocks a stage.
        dims: width of each stage.
        drop_path: share of dropped branches at the last block.
        stem: hand out the stem's result behind that of the first stage.
    """

    def __init__(
        self,
        depths: Sequence[int] = (3, 3, 9, 3),
        dims: Sequence[int] = (96, 192, 384, 768),
        *,
        drop_path: float = 0.0,
        stem: bool = False,
    ) -> None:
        super().__init__(depths, dims, drop_path=drop_path, official=True)
        for level, stage in enumerate(self.stages):
            padding = (0, 1) if level else (1, 2)
            stage.down = _PaddedDown(stage.down, *padding)  # type: ignore[arg-type]
            stage._resamples = False
        self.stem = stem
        if stem:
            self.channels.insert(1, self.channels[0])
            self.strides.insert(1, self.strides[0])

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> list[Tensor]:
        """The feature maps of an image (B, 3, H, W), fine to coarse.

        Raises:
            ValueError: for a mask.
        """
        if not self.stem:
            return super().forward(x, mask=mask)
        if mask is not None:
            raise ValueError("KMaXConvNeXt: zeros around the maps take part; leave the mask out")
        x, features = x.movedim(1, -1), []
        for level, stage in enumerate(self.stages):
            entered, _ = stage.enter(x)  # type: ignore[operator]
            x = stage.mix(entered)  # type: ignore[operator]
            features += [x] if level else [x, entered]
        return features
