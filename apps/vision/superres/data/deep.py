"""Colour images of 16 bit through OpenCV, which Pillow cannot read and write; ICC profiles, which OpenCV leaves out.

A profile is put into the finished file by its format's own rules: a PNG gets an iCCP chunk behind its header, a TIFF a
second directory with all entries of the first, the profile (tag 34675) and the kind of the alpha channel (tag 338).
"""

__all__ = ["decode_colour", "encode_colour"]

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def decode_colour(data: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """The bytes of a PNG or TIFF to RGB (H, W, 3) and alpha (H, W) or None, uint16.

    Raises:
        ValueError: OpenCV cannot read it as 16-bit colour.
    """
    import cv2

    with _quiet():
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.ndim != 3 or array.shape[2] not in (3, 4) or array.dtype != np.uint16:
        raise ValueError("16-bit colour of an unusual kind")
    alpha = np.ascontiguousarray(array[..., 3]) if array.shape[2] == 4 else None
    return np.ascontiguousarray(array[..., 2::-1]), alpha


def encode_colour(kind: str, pixels: np.ndarray, alpha: np.ndarray | None, profile: bytes | None) -> bytes:
    """RGB (H, W, 3) and alpha, uint16, as the bytes of a PNG or TIFF (`kind`)."""
    import cv2

    array = pixels[..., ::-1] if alpha is None else np.dstack([pixels[..., ::-1], alpha])
    with _quiet():
        done, data = cv2.imencode(".png" if kind == "PNG" else ".tiff", np.ascontiguousarray(array))
    if not done:
        raise OSError(f"OpenCV could not encode {pixels.shape[1]}x{pixels.shape[0]} pixels as {kind}")
    if kind == "PNG":
        return _png_with_profile(data.tobytes(), profile) if profile else data.tobytes()
    extra = {}
    if profile:
        extra[34675] = (7, len(profile), profile)
    if alpha is not None:
        extra[338] = (3, 1, struct.pack("<HH", 2, 0))
    return _tiff_with_entries(data.tobytes(), extra) if extra else data.tobytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV prints warnings of libtiff about harmless things; they are held back meanwhile."""
    import cv2

    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(0)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)


def _png_with_profile(data: bytes, profile: bytes) -> bytes:
    content = b"ICC profile\0\0" + zlib.compress(profile)
    chunk = b"iCCP" + content
    chunk = struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    header = 8 + 25  # signature and IHDR, which must stay first
    return data[:header] + chunk + data[header:]


def _tiff_with_entries(data: bytes, extra: dict[int, tuple[int, int, bytes]]) -> bytes:
    """A little-endian TIFF with further directory entries: tag -> (type, count, bytes)."""
    if data[:4] != b"II*\0":
        raise OSError("OpenCV wrote a TIFF of another kind than expected")
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    entries = {}
    for k in range(count):
        entry = data[start + 2 + 12 * k : start + 14 + 12 * k]
        entries[struct.unpack_from("<H", entry)[0]] = entry
    data += b"\0" * (len(data) % 2)
    for tag, (kind, length, value) in extra.items():
        if len(value) > 4:
            where, data = struct.pack("<I", len(data)), data + value + b"\0" * (len(value) % 2)
        else:
            where = value.ljust(4, b"\0")
        entries[tag] = struct.pack("<HHI", tag, kind, length) + where
    directory = struct.pack("<H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + b"\0" * 4
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + directory
