"""PSNR and SSIM: against the release, against their definition, and the bicubic tables of the benchmarks."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from apps.vision.superres.bicubic import bicubic_rgb, bicubic_y
from apps.vision.superres.data.public import data_folder
from apps.vision.superres.goldens import GOLDENS
from apps.vision.superres.metrics import Score, average, crop, gray_of, psnr, score, ssim, to_uint8, to_y
from core.verify import read, verify

GOLDEN = Path(__file__).parents[3] / "golden" / "sr_protocol"
RANDOM = np.random.default_rng(0)


def pixels(*shape):
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(("name", "count"), [("metrics_gray", 16), ("metrics_rgb", 20)])
def test_equal_to_the_release(name, count):
    facts, _ = read(GOLDEN / f"{name}.safetensors")
    results = verify(GOLDEN / f"{name}.safetensors", GOLDENS["sr_protocol"][facts.cls])
    assert len(results) == count and not [(r.name, r.error) for r in results if not r.ok]


def test_psnr_by_hand():
    a, b = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    b[5, 5] = 100
    assert psnr(a, b) == pytest.approx(10 * math.log10(255**2 / 25))
    assert psnr(a, b, 5) == pytest.approx(10 * math.log10(255**2 / 100))
    assert psnr(a, b, 6) == math.inf and psnr(a, a) == math.inf


def test_ssim_by_its_definition():
    """The Gaussian window laid on every place where it fits, no separable shortcut."""
    a, b = pixels(14, 17).astype(float), pixels(14, 17).astype(float)
    t = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    window = np.outer(t, t) / np.outer(t, t).sum()
    values = []
    for i in range(4):
        for j in range(7):
            x, y = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            cov = (window * (x - mx) * (y - my)).sum()
            values.append((2 * mx * my + 6.5025) * (2 * cov + 58.5225) / (mx**2 + my**2 + 6.5025) / (vx + vy + 58.5225))
    assert ssim(a, b) == pytest.approx(np.mean(values), abs=1e-12)
    assert ssim(a, a) == pytest.approx(1, abs=1e-12)
    c, d = pixels(15, 15, 3), pixels(15, 15, 3)
    assert ssim(c, d, 1) == pytest.approx(np.mean([ssim(c[..., k], d[..., k], 1) for k in range(3)]), abs=1e-12)


def test_luma_of_known_colours():
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_allclose(to_y(colours)[0], [16, 235, 81.481, 144.553, 40.966], rtol=1e-12)
    assert to_y(colours, rounded=True)[0].tolist() == [16, 235, 81, 145, 41]
    gray = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    assert gray_of(gray)[0].tolist() == list(range(256))


def test_a_gray_reference_is_compared_raw():
    reference, result = pixels(20, 20), pixels(20, 20)
    colour = np.repeat(result[..., None], 3, 2)
    raw = score(colour, reference, 2)
    assert raw == score(result, reference, 2) == (psnr(result, reference, 2), ssim(result, reference, 2))
    mapped = score(colour, np.repeat(reference[..., None], 3, 2), 2)
    assert mapped.psnr - raw.psnr == pytest.approx(20 * math.log10(255 / 219), abs=1e-9)
    assert score(result, np.repeat(reference[..., None], 3, 2), 2) == mapped


def test_tensors_are_clamped_and_rounded_to_8_bit_first():
    x = torch.tensor([[[-1.0, 0.5 / 255, 1.5 / 255, 2.0]]]).expand(3, 1, 4)
    assert to_uint8(x)[0, :, 0].tolist() == [0, 0, 2, 255]
    a, b = pixels(24, 21, 3), pixels(24, 21, 3)
    as_tensor = torch.from_numpy(a).permute(2, 0, 1) / 255
    assert (to_uint8(as_tensor) == a).all()
    assert score(as_tensor, b, 3) == score(a, b, 3)
    assert psnr(torch.from_numpy(a).permute(2, 0, 1), a) == math.inf
    with pytest.raises(ValueError, match="holds NaN"):
        to_uint8(torch.full((3, 2, 2), math.nan))
    with pytest.raises(ValueError, match="one by one"):
        to_uint8(torch.zeros(1, 3, 2, 2))
    with pytest.raises(ValueError, match=r"got torch\.int64"):
        to_uint8(torch.zeros(2, 2, dtype=torch.long))


def test_a_larger_reference_is_cut_and_rounding_is_a_choice():
    a, b = pixels(24, 21, 3), pixels(27, 22, 3)
    assert score(a, b, 3) == score(a, b[:24, :21], 3)
    rounded = score(a, b, 3, rounded=True)
    assert rounded.psnr == psnr(to_y(a, True), to_y(b[:24, :21], True), 3) != score(a, b, 3).psnr


def test_averages_leave_out_infinite_values_but_say_so():
    assert average([Score(30, 0.9), Score(20, 0.7)]) == (25, pytest.approx(0.8))
    with pytest.warns(UserWarning, match="1 of 3 results are identical to their reference .* left out"):
        assert average([Score(30, 0.9), Score(math.inf, 1.0), Score(20, 0.8)]) == (25, pytest.approx(0.9))
    with pytest.warns(UserWarning, match="1 of 1 results"):
        assert average([Score(math.inf, 1.0)]) == (math.inf, 1)
    with pytest.raises(ValueError, match="no scores"):
        average([])


def test_errors():
    with pytest.raises(ValueError, match=r"cannot be compared"):
        psnr(pixels(4, 4), pixels(4, 5))
    with pytest.raises(ValueError, match="4 pixels from every edge leave nothing of an image of 9x8"):
        crop(pixels(8, 9), 4)
    with pytest.raises(ValueError, match="10x12 pixels are left"):
        ssim(pixels(20, 18), pixels(20, 18), 4)
    with pytest.raises(ValueError, match="expected RGB"):
        to_y(pixels(4, 4))
    with pytest.raises(ValueError, match="got float32"):
        psnr(np.zeros((4, 4), np.float32), np.zeros((4, 4), np.float32))
    with pytest.raises(ValueError, match="got shape"):
        psnr(pixels(1, 4, 4, 3), pixels(1, 4, 4, 3))


# PSNR and SSIM of the three paths, computed once and independently of this code.
TABLES = {
    ("set5", 2): ((33.661, 0.9299), (33.673, 0.9303), (33.640, 0.9292)),
    ("set5", 3): ((30.392, 0.8682), (30.403, 0.8689), (30.385, 0.8678)),
    ("set5", 4): ((28.421, 0.8104), (28.429, 0.8111), (28.416, 0.8101)),
    ("set14", 2): ((30.232, 0.8687), (30.230, 0.8691), (30.218, 0.8683)),
    ("set14", 3): ((27.541, 0.7736), (27.537, 0.7745), (27.530, 0.7737)),
    ("set14", 4): ((26.000, 0.7019), (25.994, 0.7029), (25.990, 0.7023)),
    ("bsd", 2): (None, (30.117, 0.8759), None),
    ("bsd", 3): (None, (27.664, 0.7843), None),
    ("bsd", 4): (None, (26.362, 0.7194), None),
}


@pytest.mark.parametrize(("name", "scale"), TABLES)
def test_bicubic_as_published(name, scale):
    folder = data_folder(name) / "hr"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing; set OMNIMIX_DATA to the folder of public data")
    originals = [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]
    if name == "bsd" and len(originals) != 4:
        pytest.skip("the numbers are those of four images")
    paths = (bicubic_y, bicubic_rgb, lambda x, s: bicubic_rgb(x, s, rounded=True))
    for path, expected in zip(paths, TABLES[name, scale], strict=True):
        if expected is not None:
            found = average(path(x, scale) for x in originals)
            assert (round(found.psnr, 3), round(found.ssim, 4)) == expected
