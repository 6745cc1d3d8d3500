"""Pictures of segmentations for the report: overlays, where they are wrong, and what is taken for what."""

__all__ = ["Sample", "overlay", "sections"]

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from apps.vision.segmentation.data.datamodule import Views
from apps.vision.segmentation.data.items import labels_of
from apps.vision.segmentation.data.masks import IGNORE, Colour, voc_palette
from apps.vision.segmentation.metrics.confusion import scores
from core.training.report import Figure, Section, figure, png

Pixels = NDArray[np.uint8]

# Width of a panel, its height at most, how many of the best and of the worst images are shown, classes a confusion
# matrix is drawn for, share of a class's colour in an overlay.
PANEL = 320
TALLEST = 640
SHOWN = 3
DRAWN = 30
SHARE = 0.6


@dataclass
class Sample:
    """What was found in one test image.

    Args:
        index: in its part.
        name: of the image.
        counts: (K, K) confusion, sparse: an image holds few of many classes.
        classes: class map as PNG.
    """

    index: int
    name: str
    counts: Tensor
    classes: bytes

    @property
    def matrix(self) -> Tensor:
        """(K, K) confusion."""
        return self.counts.to_dense()

    @property
    def accuracy(self) -> float:
        """Share of labelled pixels that are right; 1 where none is labelled."""
        matrix = self.matrix
        total = int(matrix.sum())
        return int(matrix.diagonal().sum()) / total if total else 1.0

    @property
    def miou(self) -> float:
        """Mean IoU of this image alone."""
        return scores(self.matrix).miou


def sections(
    samples: Sequence[Sample], part: Views, names: Sequence[str], palette: Sequence[Sequence[int]] | None
) -> list[Section]:
    """The report's middle: the worst and the best images, and the confusion matrix."""
    colours = [(c[0], c[1], c[2]) for c in palette] if palette else list(voc_palette(len(names)))
    labelled = [sample for sample in samples if sample.matrix.sum()]
    ranked = sorted(labelled, key=lambda sample: sample.accuracy)
    made = []
    if ranked:
        worst = [ranked[n] for n in range(min(SHOWN, len(ranked)))]
        best = [sample for sample in ranked[::-1][:SHOWN] if sample not in worst]
        how = "Image, truth, found, and wrong pixels in white (void is gray)."
        made.append(Section("The worst images", [strip(one, part, colours) for one in worst], text=how))
        if best:
            made.append(Section("The best images", [strip(one, part, colours) for one in best]))
    if samples and len(names) <= DRAWN:
        made.append(Section("What is taken for what", [matrix(sum_of(samples), names)]))
    return made


def sum_of(samples: Sequence[Sample]) -> Tensor:
    """One confusion matrix for all."""
    total = torch.zeros_like(samples[0].matrix)
    for sample in samples:
        total += sample.counts
    return total


def strip(sample: Sample, part: Views, colours: Sequence[Colour]) -> Figure:
    """Image, truth, found and the errors, side by side."""
    scene = part.scene(sample.index)
    image = scene.image.permute(1, 2, 0).numpy()
    truth = labels_of(scene).numpy().astype(np.uint8)
    found = np.asarray(Image.open(io.BytesIO(sample.classes)))
    wrong = np.where(truth == IGNORE, 128, np.where(truth == found, 0, 255)).astype(np.uint8)
    panels = [image, overlay(image, truth, colours), overlay(image, found, colours), np.repeat(wrong[..., None], 3, 2)]
    # Truth and errors have the size of the labels, which all sources give at that of the image.
    scale = min(PANEL / image.shape[1], TALLEST / image.shape[0])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    page = Image.new("RGB", (len(panels) * (width + 4) - 4, height), "white")
    for n, panel in enumerate(panels):
        page.paste(Image.fromarray(panel).resize((width, height), Image.Resampling.BILINEAR), (n * (width + 4), 0))
    buffer = io.BytesIO()
    page.save(buffer, "JPEG", quality=85)
    caption = f"{sample.name}: {100 * sample.accuracy:.1f} % right, mean IoU {100 * sample.miou:.1f} %"
    text = f"{caption}; from left to right image, truth, found, errors"
    return Figure(jpeg(buffer.getvalue()), text, caption, wide=True)


def jpeg(data: bytes) -> str:
    """A photograph as an address, a tenth of the size of PNG."""
    return png(data).replace("image/png", "image/jpeg", 1)


def overlay(image: Pixels, classes: Pixels, colours: Sequence[Colour]) -> Pixels:
    """(H, W, 3): classes coloured over the image, void black."""
    table = np.zeros((256, 3), np.float32)
    table[: len(colours)] = colours
    mixed = SHARE * table[classes] + (1 - SHARE) * image
    return np.asarray(mixed.round(), np.uint8)


def matrix(counts: Tensor, names: Sequence[str]) -> Figure:
    """Shares of each true class, rows, by what was found, columns."""
    share = (counts.double() / counts.sum(1, keepdim=True).clamp(min=1)).numpy()
    off = share - np.diag(share.diagonal())
    row, column = np.unravel_index(int(off.argmax()), off.shape)
    worst = f"most often mistaken: {names[row]} for {names[column]}, {100 * off[row, column]:.0f} % of its pixels"
    side = min(8.0, 2.2 + 0.34 * len(names))
    text = f"Confusion matrix of {len(names)} classes; {worst}"
    with figure(text, f"Percent of the pixels of each true class (rows); {worst}.", size=(side, side)) as (axis, made):
        axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for i in range(len(names)):
            for j in range(len(names)):
                if share[i, j] >= 0.01:
                    colour = "white" if share[i, j] > 0.5 else "#222222"
                    axis.text(j, i, f"{100 * share[i, j]:.0f}", ha="center", va="center", size=7, color=colour)
        axis.set_xticks(range(len(names)), names, rotation=90)
        axis.set_yticks(range(len(names)), names)
        axis.set_xlabel("found")
        axis.set_ylabel("true")
    return made
