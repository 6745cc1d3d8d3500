"""Kernels by their formulas, and degradations that depend on their generator alone."""

import numpy as np
import pytest
from scipy.special import j1

from apps.vision.superres.data.degradation import (
    Compressed,
    FirstOrder,
    Noisy,
    Round,
    SecondOrder,
    resized,
    sharpen,
)
from apps.vision.superres.data.generator import procedural_image
from apps.vision.superres.data.kernels import BlurKernels, gaussian, generalised, plateau, sinc
from apps.vision.superres.data.pairs import shrink
from core.training.draws import generator

ALL = [SecondOrder(), FirstOrder(), Noisy(), Compressed()]
IMAGE = procedural_image(1, 0, 96)


def test_kernels_by_their_formulas():
    angle, s = 0.4, (1.7, 0.8)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    inverse = np.linalg.inv(turn @ np.diag([s[0] ** 2, s[1] ** 2]) @ turn.T)
    forms = {
        "gaussian": lambda q: np.exp(-q / 2),
        "generalised": lambda q: np.exp(-(q**0.7) / 2),
        "plateau": lambda q: 1 / (1 + q**1.6),
    }
    made = {
        "gaussian": gaussian(9, s, angle),
        "generalised": generalised(9, s, angle, 0.7),
        "plateau": plateau(9, s, angle, 1.6),
    }
    for name, kernel in made.items():
        expected = np.empty((9, 9))
        for i in range(9):
            for j in range(9):
                g = np.array([j - 4, i - 4])
                expected[i, j] = forms[name](g @ inverse @ g)
        np.testing.assert_allclose(kernel, expected / expected.sum(), rtol=1e-5, atol=1e-9)
    low = sinc(13, 1.2)
    assert low[6, 9] / low[6, 6] == pytest.approx((j1(3.6) / 3 / (2 * np.pi)) / (1.2 / (4 * np.pi)), rel=1e-5)


def test_drawn_kernels_sum_to_one_and_are_symmetric():
    draw = BlurKernels()
    sizes = set()
    for n in range(200):
        kernel = draw(generator(0, n))
        sizes.add(len(kernel))
        assert kernel.shape == (len(kernel),) * 2 and kernel.dtype == np.float32
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-7)
    assert sizes == set(range(7, 22, 2))
    one = BlurKernels(sinc=0, shares=(1, 0, 0, 0, 0, 0))(generator(0, 1))
    np.testing.assert_allclose(one, one.T, atol=1e-8)
    with pytest.raises(ValueError, match="range of positive numbers"):
        BlurKernels(sigma=(0, 1))


def test_draws_depend_on_seed_and_index_alone():
    a, b = generator(1, 2).random(4), generator(1, 2).random(4)
    assert (a == b).all()
    others = [generator(1, 3), generator(2, 2), generator(2, 1), generator(0, 2)]
    assert all((g.random(4) != a).any() for g in others)


@pytest.mark.parametrize("degradation", ALL, ids=lambda d: type(d).__name__)
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_sizes_types_and_determinism(degradation, scale):
    lr, hr = degradation(IMAGE[:, :64], scale, generator(3, 4))
    assert lr.shape == (96 // scale, 64 // scale, 3) and hr.shape == (96, 64, 3)
    assert lr.dtype == hr.dtype == np.uint8
    again, _ = degradation(IMAGE[:, :64], scale, generator(3, 4))
    np.testing.assert_array_equal(lr, again)
    if not isinstance(degradation, Compressed):
        assert (degradation(IMAGE[:, :64], scale, generator(3, 5))[0] != lr).any()


@pytest.mark.parametrize("degradation", ALL, ids=lambda d: type(d).__name__)
def test_images_smaller_than_the_filters(degradation):
    for side in (1, 4, 9):
        for n in range(8):
            lr, hr = degradation(IMAGE[: 4 * side, : 4 * side], 4, generator(0, n))
            assert lr.shape == (side, side, 3) and hr.shape == (4 * side, 4 * side, 3)


@pytest.mark.parametrize("degradation", [SecondOrder(), FirstOrder()], ids=lambda d: type(d).__name__)
def test_the_picture_stays_recognisable_and_is_worse_than_bicubic(degradation):
    clean = shrink(IMAGE, 4).astype(float)
    errors, likeness = [], []
    for n in range(12):
        lr = degradation(IMAGE, 4, generator(0, n))[0].astype(float)
        errors.append(np.abs(lr - clean).mean())
        likeness.append(np.corrcoef(lr.ravel(), clean.ravel())[0, 1])
    assert min(errors) > 1 and len({round(e, 3) for e in errors}) == 12
    assert np.mean(likeness) > 0.8


def test_a_round_without_anything_leaves_the_picture():
    still = Round(blur=0, resize=(0, 0, 1), gaussian=1, sigma=(0, 0))
    image = IMAGE.astype(np.float32) / 255
    out = still.before_jpeg(image, IMAGE.shape[:2], generator(0, 0))
    np.testing.assert_allclose(out, image, atol=1e-6)
    with pytest.raises(ValueError, match="from below 1 to above 1"):
        Round(factor=(1.1, 1.5))


def test_noise_has_the_strength_it_says():
    flat = np.full((128, 128, 3), 0.5, np.float32)
    still = {"blur": 0.0, "resize": (0.0, 0.0, 1.0)}
    colour = Round(gaussian=1, sigma=(20, 20), gray=0, **still).before_jpeg(flat, (128, 128), generator(0, 0)) - flat
    assert 255 * colour.std() == pytest.approx(20, rel=0.03)
    assert abs(np.corrcoef(colour[..., 0].ravel(), colour[..., 1].ravel())[0, 1]) < 0.05
    gray = Round(gaussian=1, sigma=(20, 20), gray=1, **still).before_jpeg(flat, (128, 128), generator(0, 0)) - flat
    assert (gray[..., 0] == gray[..., 2]).all() and 255 * gray.std() == pytest.approx(20, rel=0.03)
    # One value in the picture: two photons for white, so variance mean / 2.
    shot = Round(gaussian=0, poisson=(0.1, 0.1), gray=0, **still).before_jpeg(flat, (128, 128), generator(0, 0)) - flat
    assert shot.std() == pytest.approx(0.1 * np.sqrt(128 / 255 / 2), rel=0.05)
    noisy = Noisy(15)(np.full((64, 64, 3), 128, np.uint8), 1, generator(0, 1))[0].astype(float)
    assert noisy.std() == pytest.approx(15, rel=0.03)


def test_compression_is_stronger_at_lower_quality():
    loss = [np.abs(Compressed(q)(IMAGE, 1, generator(0, 0))[0].astype(int) - IMAGE).mean() for q in (10, 40, 95)]
    assert loss[0] > loss[1] > loss[2] > 0


def test_sharpening_leaves_flat_areas_and_steepens_edges():
    edge = np.full((80, 80, 3), 80, np.uint8)
    edge[:, 40:] = 160
    sharp = sharpen(edge).astype(int)
    assert sharp[40, 39, 0] < 75 and sharp[40, 40, 0] > 165
    flat = np.full((60, 60, 3), 77, np.uint8)
    assert (sharpen(flat) == flat).all()


def test_resizing_never_ends_in_nothing():
    assert resized(np.zeros((5, 5, 3), np.float32), (0, 2), generator(0, 0)).shape == (1, 2, 3)
