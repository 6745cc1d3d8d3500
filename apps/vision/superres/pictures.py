"""Pictures of enlarged images for the report: crops side by side, error maps, error against detail."""

__all__ = ["Sample", "sections"]

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apps.vision.superres.metrics import Score, to_y
from core.training.report import COLOURS, Figure, Section, figure, png

Pixels = NDArray[np.uint8]

# Side of a crop in pixels of the original, and how much larger it is drawn.
CROP, ZOOM = 96, 2
SHOWN = 6


@dataclass
class Sample:
    """One test image with what was made of it, all RGB (H, W, 3) or gray (H, W).

    Args:
        name: of the image, with its set.
        low, original, ours, bicubic: pixels.
        score, baseline: of ours and of bicubic.
    """

    name: str
    low: Pixels
    original: Pixels
    ours: Pixels
    bicubic: Pixels
    score: Score
    baseline: Score

    @property
    def gain(self) -> float:
        """dB over bicubic."""
        return self.score.psnr - self.baseline.psnr


def sections(samples: list[Sample]) -> list[Section]:
    """The report's middle: the images that gain most and least, and where the error is."""
    ranked = sorted(samples, key=lambda sample: -sample.gain)
    if not ranked:
        return []
    places = np.unique(np.linspace(0, len(ranked) - 1, min(SHOWN, len(ranked))).round().astype(int))
    strips = [strip(ranked[n]) for n in places]
    text = (
        "The busiest crop of each image, images ordered by the gain over bicubic: low resolution, bicubic, ours, "
        "original, and the absolute error of ours."
    )
    made = [Section("Images", strips, text=text)]
    if len(samples) > 1:
        made.append(Section("Where it helps", [gains(samples)]))
    return made


def strip(sample: Sample) -> Figure:
    """Low resolution, bicubic, ours, original and the error of ours, of the crop with the most detail."""
    original, ours, bicubic = (_colour(p) for p in (sample.original, sample.ours, sample.bicubic))
    height, width = ours.shape[:2]
    scale = max(1, round(height / sample.low.shape[0]))
    top, left = _busiest(original[:height, :width], scale)
    box = (slice(top, top + CROP), slice(left, left + CROP))
    small = (slice(top // scale, -(-(top + CROP) // scale)), slice(left // scale, -(-(left + CROP) // scale)))
    error = np.abs(to_y(ours[box]) - to_y(original[:height, :width][box]))
    panels = [_colour(sample.low)[small], bicubic[box], ours[box], original[box], _heat(error)]
    side = CROP * ZOOM
    page = Image.new("RGB", (len(panels) * (side + 4) - 4, side), "white")
    for n, panel in enumerate(panels):
        page.paste(Image.fromarray(panel).resize((side, side), Image.Resampling.NEAREST), (n * (side + 4), 0))
    buffer = io.BytesIO()
    page.save(buffer, "PNG", optimize=True)
    caption = f"{sample.name}: {sample.score.psnr:.2f} dB, bicubic {sample.baseline.psnr:.2f} dB"
    text = f"{caption}; from left to right low resolution, bicubic, ours, original, absolute error"
    return Figure(png(buffer.getvalue()), text, caption, wide=True)


def gains(samples: list[Sample]) -> Figure:
    """Gain of every image against how hard it is for bicubic."""
    hard = [sample.baseline.psnr for sample in samples]
    gain = [sample.gain for sample in samples]
    text = f"Gain over bicubic of {len(samples)} images, {min(gain):.2f} to {max(gain):.2f} dB"
    with figure(text, "Gain over bicubic against the PSNR of bicubic.", size=(5.2, 2.7)) as (axis, made):
        axis.scatter(hard, gain, s=18, color=COLOURS[0])
        axis.axhline(0, color="#999999", lw=0.8)
        axis.set_xlabel("PSNR of bicubic in dB")
        axis.set_ylabel("gain in dB")
    return made


def _colour(pixels: Pixels) -> Pixels:
    return np.repeat(pixels[..., None], 3, 2) if pixels.ndim == 2 else pixels


def _busiest(image: Pixels, scale: int) -> tuple[int, int]:
    """Top left corner of the crop with the largest gradients, at a multiple of the scale."""
    y = to_y(image)
    detail = np.zeros(y.shape)
    detail[:-1] += np.abs(np.diff(y, axis=0))
    detail[:, :-1] += np.abs(np.diff(y, axis=1))
    total = np.pad(detail.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    rows = np.arange(0, max(1, y.shape[0] - CROP + 1), scale)
    columns = np.arange(0, max(1, y.shape[1] - CROP + 1), scale)
    bottom, right = np.minimum(rows + CROP, y.shape[0]), np.minimum(columns + CROP, y.shape[1])
    inside = (
        total[np.ix_(bottom, right)] - total[np.ix_(rows, right)]
        - total[np.ix_(bottom, columns)] + total[np.ix_(rows, columns)]
    )  # fmt: skip
    row, column = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(rows[row]), int(columns[column])


def _heat(error: NDArray[np.float64]) -> Pixels:
    """Absolute luma error 0 to 40 as white to dark blue, which prints and which all kinds of colour vision read."""
    share = np.clip(error / 40, 0, 1)[..., None]
    end = np.array([0, 40, 90])
    return np.round(255 + share * (end - 255)).astype(np.uint8)
