"""Every kind of file that people have, there and back; broken ones end in one sentence."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from apps.vision.superres.data.alpha import bleed, enlarge_alpha
from apps.vision.superres.data.images import (
    ENDINGS,
    Picture,
    check_format,
    from_tensor,
    read_image,
    read_size,
    to_tensor,
    write_image,
)
from core.errors import UserError

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)
DEEP = RANDOM.integers(0, 65536, (5, 7, 4), dtype=np.uint16)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def gray3(plane):
    return np.repeat(plane[..., None], 3, 2)


def save(path, array, mode=None, **options):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp", ".webp"])
def test_8_bit_colour(tmp_path, ending):
    path = save(tmp_path / f"a{ending}", RGB, **({"lossless": True} if ending == ".webp" else {}))
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, RGB)
    assert (picture.alpha, picture.gray, picture.depth, picture.peak) == (None, False, 8, 255)
    assert read_size(path) == (5, 7)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_8_bit_of_other_kinds(tmp_path, mode):
    alpha = RANDOM.integers(0, 256, (5, 7), dtype=np.uint8)
    image = Image.fromarray(np.dstack([RGB, alpha])).convert(mode if mode != "P" else "RGB")
    if mode == "P":
        image = image.quantize(16)
    image.save(tmp_path / "a.png")
    picture = read_image(tmp_path / "a.png")
    assert picture.gray == (mode in ("1", "L", "LA")) and (picture.alpha is not None) == (mode in ("LA", "RGBA"))
    if picture.alpha is not None:
        np.testing.assert_array_equal(picture.alpha, alpha)
    np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert("RGB")))


def test_transparent_palettes_and_colours(tmp_path):
    image = Image.new("P", (2, 2))
    image.putdata([0, 1, 2, 1])
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "p.png", transparency=bytes([255, 0, 128]))
    picture = read_image(tmp_path / "p.png")
    assert picture.alpha.tolist() == [[255, 0], [128, 0]] and picture.pixels[1, 0].tolist() == [70, 80, 90]
    save(tmp_path / "l.png", RGB[..., 0], transparency=int(RGB[2, 3, 0]))
    gray = read_image(tmp_path / "l.png")
    np.testing.assert_array_equal(gray.alpha == 0, RGB[..., 0] == RGB[2, 3, 0])
    assert gray.gray
    save(tmp_path / "c.png", RGB, transparency=tuple(RGB[1, 1].tolist()))
    assert read_image(tmp_path / "c.png").alpha[1, 1] == 0


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit(tmp_path, ending, channels):
    path = str(tmp_path / f"a{ending}")
    cv2.imwrite(path, DEEP[..., 0] if channels == 1 else DEEP[..., [2, 1, 0, 3][:channels]])
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, gray3(DEEP[..., 0]) if channels == 1 else DEEP[..., :3])
    assert picture.depth == 16 and picture.gray == (channels == 1)
    if channels == 4:
        np.testing.assert_array_equal(picture.alpha, DEEP[..., 3])
    else:
        assert picture.alpha is None


def chunked(width, bits, colour, rows, *more):
    """A PNG written by hand."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = chunk(b"IHDR", header) + b"".join(chunk(*m) for m in more) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_16_bit_gray_with_alpha_and_with_a_transparent_value(tmp_path):
    rows = [struct.pack(">4H", 1000, 65535, 2000, 7)]
    (tmp_path / "ga.png").write_bytes(chunked(2, 16, 4, rows))
    picture = read_image(tmp_path / "ga.png")
    assert picture.gray and picture.pixels[0, :, 0].tolist() == [1000, 2000] and picture.alpha.tolist() == [[65535, 7]]
    rows = [struct.pack(">2H", 1000, 2000)]
    (tmp_path / "t.png").write_bytes(chunked(2, 16, 0, rows, (b"tRNS", struct.pack(">H", 2000))))
    picture = read_image(tmp_path / "t.png")
    assert picture.gray and picture.alpha.tolist() == [[65535, 0]] and picture.pixels[0, :, 2].tolist() == [1000, 2000]
    rows = [struct.pack(">6H", 1, 2, 3, 4, 5, 6)]
    (tmp_path / "c.png").write_bytes(chunked(2, 16, 2, rows, (b"tRNS", struct.pack(">3H", 4, 5, 6))))
    picture = read_image(tmp_path / "c.png")
    assert not picture.gray and picture.alpha.tolist() == [[65535, 0]]
    assert picture.pixels.tolist() == [[[1, 2, 3], [4, 5, 6]]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "tif", "jpg", "png16", "png16gray", "tif16gray"])
def test_pictures_stand_upright(tmp_path, orientation, kind):
    """Corners of a picture turned by a camera, by what each EXIF value means."""
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8], upright[:8, 16:], upright[8:, :8] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    turn = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, 1), 7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(turn(upright))
    path = tmp_path / f"a.{kind[:3]}"
    if kind == "png16":
        rows = [row.astype(">u2").tobytes() for row in stored * np.uint16(257)]
        tiff = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x0112, 3, 1, orientation) + b"\0" * 4
        path.write_bytes(chunked(stored.shape[1], 16, 2, rows, (b"eXIf", tiff)))
    elif kind == "png16gray":
        Image.fromarray(stored[..., 0] * np.uint16(257)).save(path, exif=exif)
    elif kind == "tif16gray":
        Image.fromarray(stored[..., 0] * np.uint16(257)).save(path, tiffinfo={274: orientation})
    elif kind == "tif":
        Image.fromarray(stored).save(path, tiffinfo={274: orientation})
    else:
        Image.fromarray(stored).save(path, exif=exif, **({"quality": 95, "subsampling": 0} if kind == "jpg" else {}))
    picture = read_image(path)
    expected = gray3(upright[..., 0]) if kind.endswith("gray") else upright
    assert read_size(path) == (16, 24) and picture.pixels.shape == (16, 24, 3)
    assert np.abs(picture.eight_bit().astype(int) - expected).max() <= (12 if kind == "jpg" else 0)


@pytest.mark.parametrize("ending", list(ENDINGS))
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("depth", [8, 16])
def test_written_pictures_come_back(tmp_path, ending, alpha, gray, depth):
    source = DEEP if depth == 16 else (DEEP // 257).astype(np.uint8)
    pixels = gray3(source[..., 0]) if gray else np.ascontiguousarray(source[..., :3])
    profile = None if gray else PROFILE
    picture = Picture(pixels, np.ascontiguousarray(source[..., 3]) if alpha else None, gray, profile)
    path = tmp_path / "new" / f"a{ending}"
    lossy = ending in (".jpg", ".jpeg", ".bmp")
    if (alpha and lossy) or (depth == 16 and ending not in (".png", ".tif", ".tiff")):
        with pytest.raises(UserError, match=r"write a \.png"):
            write_image(path, picture)
        assert not path.parent.exists()
        return
    write_image(path, picture, quality=100)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    again = read_image(path)
    if "jp" in ending:
        assert np.abs(again.pixels.astype(int) - pixels).max() < 12
    else:
        np.testing.assert_array_equal(again.pixels, pixels)
    if alpha:
        np.testing.assert_array_equal(again.alpha, picture.alpha)
    # WebP knows no gray, and OpenCV's files of gray with alpha are colour.
    assert again.gray == (gray and ending != ".webp" and not (alpha and depth == 16))
    assert again.depth == depth and again.profile == (profile if ending != ".bmp" else None)


def test_a_failed_write_leaves_nothing(tmp_path):
    picture = Picture(RGB)
    with pytest.raises(UserError, match=r"unknown image format '.gif'; use one of .png"):
        write_image(tmp_path / "a.gif", picture)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        write_image(tmp_path / "file" / "a.png", picture)
    wide = Picture(np.zeros((1, 70_000, 3), np.uint8))
    with pytest.raises(UserError, match="JPEG holds no side above 65,535"):
        write_image(tmp_path / "a.jpg", wide)
    check_format("a.webp", Picture(np.zeros((1, 5000, 3), np.uint8)), 3)
    with pytest.raises(UserError, match=r"WEBP holds no side above 16,383 pixels; write a \.png"):
        check_format("a.webp", Picture(np.zeros((1, 5000, 3), np.uint8)), 4)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def bytes_of(kind, array=RGB, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def test_what_cannot_be_read_is_said_in_one_sentence(tmp_path):
    path = tmp_path / "a.png"
    big = bytes_of("JPEG", np.repeat(RGB, 40, 0))

    def refused(data, match):
        path.write_bytes(data)
        with pytest.raises(UserError, match=match) as caught:
            read_image(path)
        assert "\n" not in str(caught.value) and str(caught.value).endswith(".")

    refused(b"", r"a\.png: is empty")
    refused(b"hello", r"a\.png: is not an image")
    refused(big[:-400], r"a\.png: is broken or cut off .*truncated")
    refused(bytes_of("PNG")[:-30], r"broken or cut off")
    refused(bytes_of("GIF", RGB[..., 0]), "is not an image that can be read here")
    cmyk = io.BytesIO()
    Image.fromarray(RGB).convert("CMYK").save(cmyk, "JPEG")
    refused(cmyk.getvalue(), "its pixels are CMYK, not RGB or gray; convert the file to RGB")
    refused(bytes_of("TIFF", RGB[..., 0].astype(np.float32)), "its pixels are F")
    refused(bytes_of("TIFF", RGB[..., 0].astype(np.int32)), "32-bit")
    huge = chunked(50_000, 8, 2, [b""] * 50_000)
    refused(huge, r"more than 178,956,970 pixels; cut it into parts")
    with pytest.raises(UserError, match="is a folder"):
        read_image(tmp_path)
    with pytest.raises(UserError, match="is a folder"):
        read_size(tmp_path)
    path.write_bytes(b"hello")
    with pytest.raises(UserError, match="is not an image"):
        read_size(path)
    with pytest.raises(UserError, match="no such file"):
        read_image(tmp_path / "b.png")


def test_of_several_pages_the_first_is_read(tmp_path):
    first = Image.fromarray(RGB)
    first.save(tmp_path / "a.tif", save_all=True, append_images=[Image.fromarray(255 - RGB)])
    with pytest.warns(UserWarning, match="holds 2 pictures"):
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, RGB)


SAMPLES = [
    bytes_of("PNG"), bytes_of("JPEG"), bytes_of("WEBP"), bytes_of("TIFF"), bytes_of("BMP"),
    bytes_of("TIFF", compression="tiff_deflate"), cv2.imencode(".png", DEEP)[1].tobytes(),
    cv2.imencode(".tiff", DEEP[..., :3])[1].tobytes(), bytes_of("PNG", RGB[..., 0], transparency=3),
]  # fmt: skip


@settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    sample=st.sampled_from(SAMPLES),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=3),
    whole=st.booleans(),
)
def test_damaged_files_end_in_a_picture_or_one_sentence(tmp_path, sample, cut, flips, whole):
    data = bytearray(sample if whole else sample[: int(cut * len(sample))])
    for place, bits in flips:
        if data:
            data[int(place * len(data))] ^= bits
    path = tmp_path / "a.img"
    path.write_bytes(bytes(data))
    try:
        picture = read_image(path)
    except UserError as error:
        assert "\n" not in str(error) and str(error).endswith(".")
    else:
        assert picture.pixels.shape[2] == 3 and picture.pixels.size > 0


def test_tensors_there_and_back():
    for depth, pixels in ((8, RGB), (16, np.ascontiguousarray(DEEP[..., :3]))):
        picture = Picture(pixels, profile=b"x")
        x = to_tensor(picture)
        assert x.shape == (1, 3, 5, 7) and x.dtype == torch.float32 and x.min() >= 0 and x.max() <= 1
        back = from_tensor(x, picture)
        assert back.depth == depth and back.profile == b"x"
        np.testing.assert_array_equal(back.pixels, pixels)
    gray = Picture(gray3(RGB[..., 0]), gray=True)
    tinted = to_tensor(gray) + torch.tensor([0.1, 0, -0.1])[:, None, None]
    np.testing.assert_array_equal(from_tensor(tinted, gray).pixels, gray.pixels)
    assert from_tensor(torch.full((3, 1, 2), 1.7), picture).pixels.max() == 65535
    with pytest.raises(ValueError, match="holds NaN"):
        from_tensor(torch.full((3, 1, 2), torch.nan), gray)
    with pytest.raises(ValueError, match="expected"):
        from_tensor(torch.zeros(2, 3, 4, 4), gray)
    with pytest.raises(ValueError, match=r"pixels must be"):
        Picture(RGB.astype(float))
    with pytest.raises(ValueError, match=r"does not fit"):
        Picture(RGB, alpha=RGB[:2, :, 0])
    assert Picture(np.array([[[0, 128, 65535]]], np.uint16)).eight_bit().tolist() == [[[0, 0, 255]]]
    assert Picture(np.array([[[129, 257, 32896]]], np.uint16)).eight_bit().tolist() == [[[1, 1, 128]]]


def test_colour_is_spread_under_transparency_and_nothing_else_moves():
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, :2], alpha = (200, 100, 50), np.zeros((4, 6), np.uint8)
    alpha[:, :2] = 255
    spread = bleed(pixels, alpha)
    assert (spread == (200, 100, 50)).all() and (bleed(pixels, np.full((4, 6), 255, np.uint8)) == pixels).all()
    assert (bleed(pixels, np.zeros((4, 6), np.uint8)) == pixels).all()
    big = enlarge_alpha(alpha, (8, 12))
    assert big.shape == (8, 12) and big.dtype == np.uint8 and (big[:, :2] == 255).all() and (big[:, 7:] == 0).all()
