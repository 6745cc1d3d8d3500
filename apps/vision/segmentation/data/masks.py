"""Label images to class numbers, safely.

A mask is a PNG (or lossless TIFF, BMP, WebP) whose pixels are numbers: gray of 8 or 16 bits, black and white (0 and 1),
or a palette, of which the numbers are read and not the colours. JPEG is refused, it invents values at edges. Masks
whose pixels are colours are read by a table from colour to class: one look-up of R + 256 G + 65536 B for all classes.

What becomes a class is said by a table from raw values, made by `value_table`; values that are in no table end in an
error that names the file and the value, as anything else would end in an assertion of the loss or in a class of 0 %.
"""

__all__ = ["IGNORE", "colour_table", "index_mask", "packed", "read_mask", "value_table", "voc_palette", "write_mask"]

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import UserError
from core.training.files import writing

from .images import opened

IGNORE = 255
UNKNOWN = 254
Colour = tuple[int, int, int]
Labels = NDArray[np.uint8]


def read_mask(path: str | Path) -> NDArray[np.integer]:
    """(H, W) raw numbers.

    Raises:
        UserError: missing, broken, a JPEG, or pixels that are colours.
    """
    path = Path(path)
    with opened(path) as image:
        _lossless(path, image)
        if image.mode not in ("P", "L", "1", "I;16", "I;16B", "I;16L", "I"):
            raise UserError(
                f"{path}: its pixels are {image.mode} colours, not class numbers; give the colour of each class in the "
                "class list, or save the numbers as a gray or palette PNG."
            )
        values = np.asarray(image)
    return values.astype(np.uint8) if values.dtype == bool else values


def packed(path: str | Path) -> NDArray[np.int32]:
    """(H, W) colours as R + 256 G + 65536 B, which is also how panoptic PNGs code segment numbers.

    Raises:
        UserError: missing, broken, a JPEG, or a gray file.
    """
    path = Path(path)
    with opened(path) as image:
        _lossless(path, image)
        if image.mode not in ("RGB", "RGBA", "P"):
            raise UserError(f"{path}: its pixels are {image.mode}, where colours are needed; it holds class numbers?")
        rgb = np.asarray(image.convert("RGB")).astype(np.int32)
    return rgb[..., 0] + (rgb[..., 1] << 8) + (rgb[..., 2] << 16)


def _lossless(path: Path, image: Image.Image) -> None:
    if image.format == "JPEG":
        raise UserError(f"{path}: is a JPEG, whose compression changes class numbers; make the mask anew as PNG.")


def value_table(values: Mapping[int, int] | int, ignore: Sequence[int] = (IGNORE,)) -> Labels:
    """(65536,) from raw values to classes.

    Args:
        values: class of each raw value; K for 0 .. K - 1 as they are.
        ignore: raw values of pixels that do not count.

    Raises:
        ValueError: classes outside 0 .. 253, or a value that is both class and ignored.
    """
    values = {n: n for n in range(values)} if isinstance(values, int) else dict(values)
    table = np.full(65_536, UNKNOWN, np.uint8)
    for raw, number in values.items():
        if not 0 <= number < UNKNOWN or not 0 <= raw < 65_536:
            raise ValueError(f"value_table: value {raw} for class {number}; classes are 0 .. 253, values 0 .. 65535.")
        table[raw] = number
    for raw in ignore:
        if raw in values:
            raise ValueError(f"value_table: value {raw} is class {values[raw]} and cannot be ignored, too.")
        if 0 <= raw < 65_536:
            table[raw] = IGNORE
    return table


def colour_table(colours: Sequence[Colour], ignore: Sequence[Colour] = (), others: bool = False) -> Labels:
    """(2^24,) from packed colours to classes.

    Args:
        colours: of class 0, 1, ...
        ignore: of pixels that do not count.
        others: every other colour does not count, instead of being an error.
    """
    table = np.full(1 << 24, IGNORE if others else UNKNOWN, np.uint8)
    for number, (red, green, blue) in [*enumerate(colours), *((IGNORE, colour) for colour in ignore)]:
        table[red + (green << 8) + (blue << 16)] = number
    if len({tuple(c) for c in colours}) < len(colours):
        raise ValueError("colour_table: two classes have the same colour.")
    return table


def index_mask(path: str | Path, table: Labels, coloured: bool = False) -> Labels:
    """(H, W) classes, `IGNORE` where a pixel does not count.

    Args:
        path: of the mask.
        table: from `value_table`, or from `colour_table` if `coloured`.
        coloured: pixels are colours.

    Raises:
        UserError: cannot be read, or holds a value that the table does not know.
    """
    raw = packed(path) if coloured else read_mask(path)
    if not coloured and raw.size and (raw.min() < 0 or raw.max() > 65_535):
        raise UserError(f"{path}: holds values beyond 16 bits ({int(raw.max())}); save class numbers as 8-bit PNG.")
    labels = table[raw]
    unknown = labels == UNKNOWN
    if unknown.any():
        wrong = np.unique(raw[unknown])
        known = np.flatnonzero(table < UNKNOWN)
        if coloured:
            first = ", ".join(f"({v & 255}, {v >> 8 & 255}, {v >> 16})" for v in wrong[:3].tolist())
            raise UserError(
                f"{path}: {int(unknown.sum())} pixels have the colours {first}, which no class has; add them to the "
                "class list or to what it ignores."
            )
        span = f"{known[0]} to {known[-1]}" if len(known) and np.ptp(known) == len(known) - 1 else str(known.tolist())
        raise UserError(
            f"{path}: {int(unknown.sum())} pixels have the value {', '.join(map(str, wrong[:3].tolist()))}; classes "
            f"are {span}, ignored is {np.flatnonzero(table == IGNORE).tolist()}; give the values of your masks "
            "in the class list."
        )
    return labels


def write_mask(path: str | Path, labels: NDArray[np.integer], palette: Sequence[Colour] | None = None) -> None:
    """A palette PNG of class numbers, whole or not at all.

    Args:
        path: ends in .png.
        labels: (H, W), 0 .. 255.
        palette: colours of the classes; those of Pascal VOC by default.
    """
    if labels.ndim != 2 or (labels.size and (labels.min() < 0 or labels.max() > 255)):
        raise ValueError(f"write_mask: expected (H, W) of 0 .. 255, got {labels.shape}.")
    if Path(path).suffix.lower() != ".png":
        raise UserError(f"{path}: masks are written as PNG alone; name it .png.")
    image = Image.fromarray(labels.astype(np.uint8), mode="P")
    colours = list(voc_palette())
    colours[: len(palette or ())] = palette or ()
    image.putpalette([value for colour in colours for value in colour])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    with writing(path) as beside:
        beside.write_bytes(buffer.getvalue())


def voc_palette(count: int = 256) -> tuple[Colour, ...]:
    """Pascal VOC's colours: three bits of the class number at a time are the next bits of red, green and blue."""
    colours = []
    for number in range(count):
        rgb = [0, 0, 0]
        for place in range(8):
            for channel in range(3):
                rgb[channel] |= (number >> (3 * place + channel) & 1) << (7 - place)
        colours.append((rgb[0], rgb[1], rgb[2]))
    return tuple(colours)
