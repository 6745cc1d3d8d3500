"""Image files to arrays and back: whatever people have in, one sentence if it cannot be.

Read: PNG, JPEG, WebP, TIFF and BMP; 1 bit, palette (also with transparency), gray, gray with alpha, RGB, RGBA; 16-bit
gray, RGB and RGBA (PNG, TIFF). The orientation a camera notes (EXIF) is applied. Refused: CMYK and other colour spaces,
32-bit and floating pixels, more pixels than Pillow's limit against decompression bombs (179 million), broken files.

Written: by the name's ending, whole or not at all, with the ICC profile, alpha and 16 bit kept where the format can and
refused where it cannot (BMP loses the profile, which only tunes the colours). A picture that was gray is written gray.

Pillow reads 16-bit colour as 8 bit, so OpenCV reads and writes that; Pillow still decodes the file once, because OpenCV
returns half a picture from a truncated file without a word.
"""

__all__ = ["ENDINGS", "Picture", "check_format", "from_tensor", "read_image", "read_size", "to_tensor", "write_image"]

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from core.errors import UserError
from core.training.files import writing

from .deep import decode_colour, encode_colour

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
ENDINGS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP",
}  # fmt: skip
GRAY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I")
Result = TypeVar("Result")
COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr")


@dataclass(frozen=True)
class Picture:
    """An image as the networks see it.

    Args:
        pixels: (H, W, 3) RGB, uint8 or uint16; three equal channels if the file was gray.
        alpha: (H, W) of the same type, 0 transparent.
        gray: the file was gray, and is written gray again.
        profile: ICC profile, as it stood in the file.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    gray: bool = False
    profile: bytes | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype not in (np.uint8, np.uint16):
            raise ValueError(
                f"Picture: pixels must be uint8 or uint16 of shape (H, W, 3), got {self.pixels.dtype} of "
                f"{self.pixels.shape}."
            )
        alpha = self.alpha
        if alpha is not None and (alpha.shape != self.pixels.shape[:2] or alpha.dtype != self.pixels.dtype):
            raise ValueError(
                f"Picture: alpha {alpha.dtype} of {alpha.shape} does not fit pixels {self.pixels.dtype} of "
                f"{self.pixels.shape}."
            )

    @property
    def peak(self) -> int:
        """The value of white: 255 or 65535."""
        return int(np.iinfo(self.pixels.dtype).max)

    @property
    def depth(self) -> int:
        """Bits of a channel: 8 or 16."""
        return self.pixels.dtype.itemsize * 8

    def eight_bit(self) -> np.ndarray:
        """Pixels (H, W, 3) as uint8, rounded."""
        if self.depth == 8:
            return self.pixels
        return ((self.pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def read_image(path: str | Path) -> Picture:
    """Reads one file.

    Raises:
        UserError: not an image, broken, too large, or in a colour space that is not RGB or gray.
    """
    path = Path(path)
    data = _readable(path).read_bytes()
    picture, pages = _decoded(path, io.BytesIO(data), lambda image: _picture(path, image, data))
    if pages > 1:
        warnings.warn(f"{path.name}: holds {pages} pictures; the first is read.", stacklevel=2)
    return picture


def read_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of the picture as it will be read, from the header alone."""
    path = Path(path)

    def upright(image: Image.Image) -> tuple[int, int]:
        width, height = image.size
        # Pillow turns a TIFF's size itself.
        turned = image.format != "TIFF" and image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        return (width, height) if turned else (height, width)

    return _decoded(path, _readable(path), upright)


def write_image(path: str | Path, picture: Picture, quality: int = 95) -> None:
    """Writes one file in the format its ending names.

    Args:
        path: .png, .jpg, .jpeg, .webp, .tif, .tiff or .bmp.
        picture: what to write.
        quality: of JPEG and WebP, 1 to 100; 100 makes WebP lossless.

    Raises:
        UserError: unknown ending, a format that cannot keep alpha or 16 bit, a folder that cannot be written.
    """
    path = Path(path)
    check_format(path, picture)
    kind = ENDINGS[path.suffix.lower()]
    if picture.depth == 16 and not (picture.gray and picture.alpha is None):
        data = encode_colour(kind, picture.pixels, picture.alpha, picture.profile)
    else:
        data = _encoded(kind, picture, quality)
    try:
        with writing(path) as beside:
            beside.write_bytes(data)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); choose another folder.") from error


def check_format(path: str | Path, picture: Picture, scale: int = 1) -> None:
    """That the format can hold the picture enlarged by `scale`, said before hours of work rather than after.

    Raises:
        UserError: unknown ending; alpha or 16 bit where the format has none; sides too long for it.
    """
    path = Path(path)
    kind = ENDINGS.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path}: unknown image format {path.suffix!r}; use one of {', '.join(ENDINGS)}.")
    if picture.alpha is not None and kind in ("JPEG", "BMP"):
        raise UserError(f"{path}: {kind} keeps no transparency; write a .png, .webp or .tif instead.")
    if picture.depth == 16 and kind not in ("PNG", "TIFF"):
        raise UserError(f"{path}: {kind} keeps 8 of the picture's 16 bits; write a .png or .tif instead.")
    if kind in ("JPEG", "WEBP"):
        limit = 65_535 if kind == "JPEG" else 16_383
        if max(picture.pixels.shape) * scale > limit:
            raise UserError(f"{path}: {kind} holds no side above {limit:,} pixels; write a .png or .tif instead.")


def to_tensor(picture: Picture) -> Tensor:
    """(1, 3, H, W) float32 in [0, 1]."""
    # uint16 tensors divide by nothing, so the way leads over NumPy.
    values = picture.pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(picture.peak)
    return torch.from_numpy(np.ascontiguousarray(values))[None]


def from_tensor(x: Tensor, like: Picture, alpha: np.ndarray | None = None) -> Picture:
    """A network's output (1, 3, H, W) or (3, H, W) as a picture with the depth, grayness and profile of `like`.

    Values are clamped to [0, 1] and rounded; a gray picture takes the mean of the channels.

    Raises:
        ValueError: another shape, or NaN.
    """
    if x.dim() == 4 and len(x) == 1:
        x = x[0]
    if x.dim() != 3 or x.shape[0] != 3:
        raise ValueError(f"from_tensor: expected (3, H, W) or (1, 3, H, W), got {tuple(x.shape)}.")
    x = x.detach().float().cpu()
    if bool(x.isnan().any()):
        raise ValueError("from_tensor: the image holds NaN; run the network in float32.")
    if like.gray:
        x = x.mean(0, keepdim=True).expand(3, -1, -1)
    values = (x.clamp(0, 1) * like.peak).round().permute(1, 2, 0).numpy().astype(like.pixels.dtype)
    return Picture(np.ascontiguousarray(values), alpha, like.gray, like.profile)


def _readable(path: Path) -> Path:
    """The path of a file that can be opened and is not empty."""
    try:
        with path.open("rb") as file:
            if file.read(1):
                return path
    except OSError as error:
        what = "is a folder" if path.is_dir() else (error.strerror or str(error)).lower()
        raise UserError(f"{path}: cannot be read ({what}); name an image file.") from error
    raise UserError(f"{path.name}: is empty (0 bytes); copy the file again.")


def _decoded(path: Path, source: Path | io.BytesIO, use: Callable[[Image.Image], Result]) -> Result:
    """`use` on the opened file; everything that decoders raise becomes one sentence."""
    try:
        with warnings.catch_warnings():
            # Half of the size at which Pillow refuses it only warns; other warnings are about broken side data.
            warnings.simplefilter("ignore")
            with Image.open(source, formats=FORMATS) as image:
                return use(image)
    except UserError:
        raise
    except Image.UnidentifiedImageError as error:
        raise UserError(
            f"{path.name}: is not an image that can be read here; convert it to PNG, JPEG, WebP, TIFF or BMP."
        ) from error
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{path.name}: has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; cut it into parts first."
        ) from error
    except Exception as error:  # decoders raise anything on bytes that nobody intended
        message = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path.name}: is broken or cut off ({message}); copy the file again.") from error


def _picture(path: Path, image: Image.Image, data: bytes) -> tuple[Picture, int]:
    """The first picture of the file, and how many it holds."""
    mode, profile = image.mode, image.info.get("icc_profile")
    if mode not in GRAY_MODES + COLOUR_MODES:
        raise UserError(f"{path.name}: its pixels are {mode}, not RGB or gray; convert the file to RGB.")
    if mode == "I" and image.format != "PNG":
        raise UserError(f"{path.name}: has 32-bit pixels; save it with 8 or 16 bit.")
    deep = _is_deep(path, image, data)
    pages = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
    orientation = image.getexif().get(0x0112, 1)
    image.load()
    transparent = image.info.get("transparency")
    # Pillow opens gray with alpha in 16 bit as RGBA; the header's colour type 4 says what it is.
    gray = mode in GRAY_MODES or (image.format == "PNG" and data[25] == 4)
    if deep and mode.startswith("I"):
        plane = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16)
        alpha = None if transparent is None else np.where(plane == transparent, 0, 65535).astype(np.uint16)
        picture = Picture(np.repeat(plane[..., None], 3, 2), alpha, True, profile)
    elif deep:
        pixels, alpha = decode_colour(data)
        if alpha is None and transparent is not None:
            alpha = np.where((pixels == transparent).all(2), 0, 65535).astype(np.uint16)
        if image.format == "PNG":
            # OpenCV turns a TIFF upright but not a PNG.
            pixels, alpha = _upright(pixels, orientation), None if alpha is None else _upright(alpha, orientation)
        picture = Picture(pixels, alpha, gray, profile)
    else:
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            array = np.array(upright.convert("RGBA"))
            picture = Picture(np.ascontiguousarray(array[..., :3]), array[..., 3].copy(), gray, profile)
        else:
            picture = Picture(np.array(upright.convert("RGB")), None, gray, profile)
    return picture, pages


def _is_deep(path: Path, image: Image.Image, data: bytes) -> bool:
    """16 bits a channel?"""
    if image.format == "PNG":
        return data[24] == 16
    if image.format != "TIFF":
        return False
    bits = set(image.tag_v2.get(258, (1,)))  # type: ignore[attr-defined]
    kinds = set(image.tag_v2.get(339, (1,)))  # type: ignore[attr-defined]
    if bits == {16} and kinds == {1}:
        if image.tag_v2.get(262) == 0:  # type: ignore[attr-defined]
            raise UserError(f"{path.name}: a 16-bit TIFF in which 0 is white; save it with 0 as black.")
        return True
    if max(bits) > 8 or kinds != {1}:
        raise UserError(f"{path.name}: has {max(bits)}-bit pixels of another kind than whole numbers of 8 or 16 bit.")
    return False


def _upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """EXIF orientation 1 to 8 undone."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def _encoded(kind: str, picture: Picture, quality: int) -> bytes:
    pixels = picture.pixels[..., 0] if picture.gray else picture.pixels
    if picture.alpha is not None:
        pixels = np.dstack([pixels, picture.alpha])
    options: dict = {"icc_profile": picture.profile} if picture.profile and kind != "BMP" else {}
    if kind == "JPEG":
        # Colour at full resolution: half of it would undo what was just enlarged.
        options |= {"quality": quality, "subsampling": 0}
    elif kind == "WEBP":
        options |= {"quality": quality, "lossless": quality == 100, "exact": True}
    elif kind == "TIFF":
        options |= {"compression": "tiff_deflate"}
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()
