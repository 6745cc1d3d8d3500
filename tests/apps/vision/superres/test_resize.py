"""MATLAB's imresize: against stored outputs, against the formula pixel by pixel, and on the real benchmark files."""

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from apps.vision.superres.data.public import data_folder
from apps.vision.superres.goldens import GOLDENS
from apps.vision.superres.resize import modcrop, replicate, resize, resize_planes, symmetric
from core.verify import read, verify

GOLDEN = Path(__file__).parents[3] / "golden" / "sr_protocol"
RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("name", ["imresize_gray", "imresize_rgb"])
def test_equal_to_stored_outputs_to_the_last_bit(name):
    facts, _ = read(GOLDEN / f"{name}.safetensors")
    results = verify(GOLDEN / f"{name}.safetensors", GOLDENS["sr_protocol"][facts.cls])
    assert len(results) == 16 and all(r.ok and r.error == 0 for r in results)


def keys(t):
    t = abs(t)
    if t <= 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


def line(values, m, s, clamp):
    """One row of pixels by the formula, one output at a time."""
    n, out = len(values), []
    for x in range(1, m + 1):
        u = x / s + 0.5 * (1 - 1 / s)
        total = weights = 0.0
        reach = 2 if s >= 1 else 2 / s
        for i in range(math.floor(u - reach) - 1, math.ceil(u + reach) + 2):
            weight = keys(u - i) if s >= 1 else keys(s * (u - i))
            j = i - 1
            if clamp:
                j = min(max(j, 0), n - 1)
            while not 0 <= j < n:
                j = -1 - j if j < 0 else 2 * n - 1 - j
            total, weights = total + weight * values[j], weights + weight
        out.append(total / weights)
    return np.array(out)


def by_formula(image, m, s, clamp, whole):
    for axis in sorted((0, 1), key=lambda a: s[a]):
        image = np.apply_along_axis(line, axis, image, m[axis], s[axis], clamp)
        if whole:
            image = np.floor(image + 0.5).clip(0, 255)
    return image


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (13, 5)])
@pytest.mark.parametrize("scale", [1 / 4, 1 / 3, 0.37, 1, 1.5, 3])
@pytest.mark.parametrize("border", [symmetric, replicate])
def test_the_formula(shape, scale, border):
    image = RANDOM.uniform(0, 255, shape)
    m = [math.ceil(n * scale) for n in shape]
    expected = by_formula(image, m, (scale, scale), border is replicate, False)
    np.testing.assert_allclose(resize(image, scale=scale, border=border), expected, rtol=1e-12, atol=1e-11)
    planes = resize_planes(torch.from_numpy(image), scale=scale, border=border)
    np.testing.assert_allclose(planes, expected, rtol=1e-12, atol=1e-11)


def test_by_size_the_direction_with_the_smaller_scale_goes_first():
    image = RANDOM.integers(0, 256, (12, 11), dtype=np.uint8)
    for size in [(5, 9), (11, 4), (24, 5), (7, 30)]:
        s = [m / n for m, n in zip(size, image.shape, strict=True)]
        expected = by_formula(image.astype(float), size, s, False, True)
        np.testing.assert_array_equal(resize(image, size=size), expected)


def test_integers_are_rounded_half_up_after_each_direction_and_clipped():
    assert resize(np.array([[0, 1], [0, 1]], np.uint8), size=(1, 1)).tolist() == [[1]]
    edge = np.array([[0, 0, 255, 255]] * 4, np.uint8)
    assert resize(edge, scale=2).min() == 0 and resize(edge, scale=2).max() == 255
    assert resize(edge.astype(float), scale=2).min() < -5
    deep = resize(np.full((4, 4), 65535, np.uint16), scale=0.5)
    assert deep.dtype == np.uint16 and (deep == 65535).all()


def test_channels_are_resized_one_by_one_and_constants_stay():
    image = RANDOM.integers(0, 256, (9, 14, 4), dtype=np.uint8)
    apart = np.stack([resize(image[..., c], scale=1 / 3) for c in range(4)], -1)
    np.testing.assert_array_equal(resize(image, scale=1 / 3), apart)
    np.testing.assert_allclose(resize(np.full((7, 5), 0.3), scale=1.7), 0.3, rtol=1e-14)
    np.testing.assert_array_equal(resize(image, scale=1), image)


def test_tensors_carry_gradients():
    x = torch.rand(2, 1, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: resize_planes(t, scale=0.5), x)
    assert resize_planes(torch.rand(3, 4, 4), size=(2, 7)).shape == (3, 2, 7)


def test_errors():
    image = np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match="give either scale"):
        resize(image)
    with pytest.raises(ValueError, match="give either scale"):
        resize(image, scale=2, size=(2, 2))
    with pytest.raises(ValueError, match="must be positive"):
        resize(image, scale=-1.0)
    with pytest.raises(ValueError, match="at least 1 by 1"):
        resize(image, size=(0, 3))
    with pytest.raises(ValueError, match="not empty"):
        resize(np.zeros((0, 4)), scale=2)
    with pytest.raises(ValueError, match="got int64"):
        resize(image.astype(np.int64), scale=2)
    with pytest.raises(ValueError, match="floating tensor"):
        resize_planes(torch.zeros(4, 4, dtype=torch.uint8), scale=2)
    with pytest.raises(ValueError, match="4x3 pixels is smaller than the scale 4"):
        modcrop(np.zeros((3, 4)), 4)
    assert modcrop(np.zeros((7, 9, 3)), 4).shape == (4, 8, 3)


def folder(*parts):
    path = data_folder(parts[0]).joinpath(*parts[1:])
    if not path.is_dir():
        pytest.skip(f"{path} is missing; set OMNIMIX_DATA to the folder of public data")
    return path


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_set5_as_matlab_made_it(scale):
    stored = sorted(folder("set5", f"lr_x{scale}").iterdir())
    assert len(stored) == 5
    for path in stored:
        original = np.asarray(Image.open(next(folder("set5", "hr").glob(f"{path.stem}.*"))))
        np.testing.assert_array_equal(resize(modcrop(original, scale), scale=1 / scale), np.asarray(Image.open(path)))


# First digits of the SHA-256 of the bytes of the low-resolution images at x2, x3 and x4.
SET14 = {
    "baboon": "42533faa1e4f601c 811cd244f9b0fa57 0a91e1a93702da87",
    "barbara": "ef91e06084e43b2d a2db63588a63d3e8 4b87533896ea4af8",
    "bridge": "4dfbad36745498ce 6cf93e86f70558c1 cb1e7b98232e41ad",
    "coastguard": "15829b65bffcfed3 e0f94d7c6a6d1b5e 261c25e76ce4b417",
    "comic": "805c1da88eac5a43 9f5caaa9f10dfbc1 3867ebee9bc51d44",
    "face": "4088c01ddfc8a171 7276044079c2217a c781ea9b3a0b89ee",
    "flowers": "297b802b753e75e0 508e3a9776af711d f05a4ea31d46e3a1",
    "foreman": "e0b842f3548dcf51 8247ef9af1f269c8 16270c035677a255",
    "lenna": "be025209886f476b fb010637cb5a1a51 cd34f4638829b72f",
    "man": "4dfaf0031ed8acf9 1a06c281a656a595 ea097d4737fc6844",
    "monarch": "9c4ace8f365218fe 2063e8a6a02e0ef3 684af1eb3a645f69",
    "pepper": "0ae8b68679bf51d5 13408c7f7c8501df fc32ecfb0b2a1371",
    "ppt3": "8a5acccd89d42fb9 cf0af15be19c7d57 9f9ca66e8f673bc0",
    "zebra": "f27c6a3fde660790 2445d48e7bd95fbb 0317eb47375cda3a",
}


@pytest.mark.parametrize("name", SET14)
def test_set14_by_hash(name):
    original = np.asarray(Image.open(next(folder("set14", "hr").glob(f"{name}.*"))))
    made = [resize(modcrop(original, s), scale=1 / s) for s in (2, 3, 4)]
    assert [hashlib.sha256(x.tobytes()).hexdigest()[:16] for x in made] == SET14[name].split()
