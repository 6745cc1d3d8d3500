"""Image files to 8-bit RGB, whatever people have; one sentence if it cannot be.

Gray becomes three equal channels, transparency is dropped, 16 bits become 8, and the orientation that a camera notes
(EXIF) is applied. Files of more pixels than Pillow's limit against decompression bombs are refused.
"""

__all__ = ["SUFFIXES", "find_image", "image_size", "list_images", "opened", "read_image"]

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from core.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """A file with Pillow; everything that decoders raise becomes one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                yield image
    except (UserError, ValueError, GeneratorExit):
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: not found; check the path.") from None
    except Image.UnidentifiedImageError:
        raise UserError(f"{path}: is not an image that can be read here; save it as PNG.") from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise UserError(f"{path}: has more than {limit:,} pixels; cut it into parts first.") from None
    except Exception as error:  # decoders raise anything on bytes that nobody intended
        what = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: is broken or cut off ({what}); copy the file again.") from None


def read_image(path: str | Path) -> Tensor:
    """(3, H, W) uint8 RGB.

    Raises:
        UserError: missing, broken, too large, or in a colour space that is not gray or RGB.
    """
    path = Path(path)
    with opened(path) as image:
        image.load()
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("I;16", "I;16B", "I;16L", "I"):
            values = np.asarray(upright).astype(np.int64)
            if values.max(initial=0) > 65_535 or values.min(initial=0) < 0:
                raise UserError(f"{path}: has pixels beyond 16 bits; save it with 8 or 16 bits.")
            pixels = np.repeat(((values + 128) // 257).astype(np.uint8)[..., None], 3, 2)
        elif upright.mode in ("CMYK", "LAB", "HSV", "F"):
            raise UserError(f"{path}: its pixels are {upright.mode}, not gray or RGB; convert the file to RGB.")
        else:
            pixels = np.array(upright.convert("RGB"))
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def image_size(path: str | Path) -> tuple[int, int]:
    """(H, W) as it will be read, from the header alone."""
    with opened(Path(path)) as image:
        width, height = image.size
        turned = image.format != "TIFF" and image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def list_images(folder: str | Path) -> list[Path]:
    """Image files in a folder and those below it, sorted.

    Raises:
        UserError: no folder, or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: not found; name a folder of images.")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not found:
        raise UserError(f"{folder}: holds no image ({', '.join(SUFFIXES)}); name another folder.")
    return found


def find_image(folder: Path, stem: str) -> Path:
    """The image of a name, with any of the endings, in small letters or capitals.

    Raises:
        UserError: there is none.
    """
    for suffix in (*SUFFIXES, *map(str.upper, SUFFIXES)):
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return path
    raise UserError(f"{folder / stem}: not found with any of {', '.join(SUFFIXES)}; copy the image or drop its name.")
